"""Every model family that omnimem runs. A new one is added here, and nowhere else in the code."""

from collections.abc import Iterator
from importlib import import_module

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models.family import Family
from omnimem_cli.models.folder import Checkpoint

MODULES = (
    "omnimem_cli.models.qwen_omni.load",
    "omnimem_cli.models.qwen_omni.load_qwen3",
    "omnimem_cli.models.salmonn.load",
)
"""Each with its ``FAMILIES``."""


def families() -> Iterator[Family]:
    """All, each module imported when its turn comes: what builds another model's parts is not waited for."""
    for name in MODULES:
        yield from import_module(name).FAMILIES


def family_of(checkpoint: Checkpoint) -> Family:
    """The family that a folder's config belongs to. Raises MissingError where no adapter runs it."""
    for family in families():
        if family.owns(checkpoint):
            return family
    raise MissingError(
        f"{checkpoint.folder} holds a model that omnimem does not run ({checkpoint.model_type or 'no model_type'}).",
        "`omnimem models list` shows the models that it runs.",
        code="model",
    )
