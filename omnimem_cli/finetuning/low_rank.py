"""LoRA matrices in a loaded model's decoder, by peft (extra ``finetune``), and their folder. Knows no data, no loss."""

import importlib.util
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.finetuning.choices import Training
from omnimem_cli.models.adapter import Adapter

if TYPE_CHECKING:
    from peft import PeftModel


def check_peft() -> None:
    """Raise MissingError where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise MissingError("Fine-tuning needs peft.", 'pip install "omnimem-cli[finetune]".')


class LowRank:
    """The trainable matrices of one model; everything else of it stays as it was loaded."""

    def __init__(self, adapter: Adapter, training: Training):
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(training.seed)
        config = LoraConfig(
            r=training.rank,
            lora_alpha=training.alpha,
            lora_dropout=training.dropout,
            target_modules=_pattern(adapter, training.targets),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of names that older releases need
            self.model: PeftModel = get_peft_model(adapter.model, config).eval()
            adapter.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        config.base_model_name_or_path = adapter.row.hub_id or adapter.name
        self._decoder = adapter.decoder
        self.named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trainable matrices."""
        return list(self.named.values())

    @contextmanager
    def teaching(self) -> Iterator[None]:
        """Within, dropout is on, and layers are computed again for their gradients instead of kept."""
        self._decoder.train()
        try:
            yield
        finally:
            self._decoder.eval()

    def save(self, folder: Path) -> None:
        """Write the folder that `--adapter` reads, in peft's layout. Nothing is looked up on the hub."""
        self.model.save_pretrained(folder, save_embedding_layers=False)

    def state(self) -> dict[str, Tensor]:
        """The matrices, exactly."""
        return {name: p.detach().cpu().clone() for name, p in self.named.items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Undo ``state``."""
        for name, p in self.named.items():
            p.copy_(state[name])


def _pattern(adapter: Adapter, targets: tuple[str, ...]) -> str:
    """What the full names of the wanted modules match, the decoder's alone. Raises UsageError for what it lacks."""
    prefix = next(name for name, module in adapter.model.named_modules() if module is adapter.decoder)
    modules = adapter.decoder.named_modules()
    found = {name.rpartition(".")[2] for name, module in modules if isinstance(module, nn.Linear)}
    unknown = [name for name in targets if name not in found]
    if unknown:
        raise UsageError(f"{adapter.name} has no {unknown[0]}.", f"Its projections are: {', '.join(sorted(found))}.")
    return rf"{re.escape(prefix)}\..*\.({'|'.join(targets)})"
