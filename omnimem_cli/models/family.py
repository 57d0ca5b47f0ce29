"""What loader and dummy need to know of a model family. `families` lists them all.

Knows folders, rows and the library's classes; knows no family.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omnimem_cli.models.base_adapter import BaseAdapter
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.device import Placement
from omnimem_cli.models.folder import Checkpoint, broken_folder
from omnimem_cli.models.loading import loading, silence_transformers
from omnimem_cli.models.tokenizer import read_tokenizer, tokenizer_folder
from omnimem_cli.models.towers.patches import pixel_fault


@dataclass(frozen=True)
class Family(ABC):
    """One architecture. ``name``: as rows of the catalogue call it; ``model_types``: as config.json calls it;
    ``config_parts``: keys that its config.json must have, where another architecture has the same ``model_type``."""

    name: str
    model_types: tuple[str, ...]
    model_class: type[PreTrainedModel]
    adapter_class: type[BaseAdapter]
    config_parts: tuple[str, ...] = ()

    def owns(self, checkpoint: Checkpoint) -> bool:
        """Whether a folder's config is of this family."""
        return checkpoint.model_type in self.model_types and all(
            part in checkpoint.config for part in self.config_parts
        )

    def load(self, checkpoint: Checkpoint, row: Row, placement: Placement) -> BaseAdapter:
        """The adapter of a folder.

        Raises MissingError for a folder that is broken or of another shape than its config says, DoesNotFitError where
        memory runs out.
        """
        self.check(checkpoint)
        with silence_transformers(), loading(checkpoint.folder, placement.device):
            model = self.read_model(checkpoint, placement).eval().requires_grad_(False)
            tokenizer = read_tokenizer(tokenizer_folder(checkpoint.folder), self.marks)
        return self.adapter_of(model, tokenizer, checkpoint, row, placement.weights)

    def check(self, checkpoint: Checkpoint) -> None:
        """Raises MissingError for a config that the family cannot run."""
        why = self.config_fault(checkpoint) or pixel_fault(
            checkpoint.settings("image_processor"), self.adapter_class.patches
        )
        if why is not None:
            raise broken_folder(checkpoint.folder, why)

    def config_fault(self, checkpoint: Checkpoint) -> str | None:
        """What is wrong with a config of the family, None where nothing is."""
        return None

    @property
    @abstractmethod
    def marks(self) -> Iterable[str]:
        """Special tokens that its prompts are made of."""

    @abstractmethod
    def read_model(self, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
        """The folder's weights in the library's class. Raises MissingError: keys missing or of another shape."""

    @abstractmethod
    def adapter_of(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        checkpoint: Checkpoint,
        row: Row,
        weights_dtype: str,
    ) -> BaseAdapter:
        """A loaded model as an adapter. Raises MissingError where the folder's settings contradict the model."""
