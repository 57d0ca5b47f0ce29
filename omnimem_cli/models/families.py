"""Every model family that omnimem runs. A new one is added here, and nowhere else in the code."""

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models.family import Family
from omnimem_cli.models.folder import Checkpoint
from omnimem_cli.models.qwen_omni import load as qwen_omni
from omnimem_cli.models.salmonn import load as salmonn

FAMILIES: tuple[Family, ...] = (*qwen_omni.FAMILIES, *salmonn.FAMILIES)


def family_of(checkpoint: Checkpoint) -> Family:
    """The family that a folder's config belongs to. Raises MissingError where no adapter runs it."""
    for family in FAMILIES:
        if family.owns(checkpoint):
            return family
    raise MissingError(
        f"{checkpoint.folder} holds a model that omnimem does not run ({checkpoint.model_type or 'no model_type'}).",
        "`omnimem models list` shows the models that it runs.",
        code="model",
    )
