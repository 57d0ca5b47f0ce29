"""Released checkpoints to an adapter: key names, completeness, LoRA. Knows stored keys, no forward pass.

The Qwen2.5-VL family is stored with the old names (``visual.*``, ``model.layers.*``, ``audio.*``), the Qwen3-VL
family with today's (``model.visual.*``, ``model.language_model.*``, ``model.audio.*``); both keep the audio tower's
original names. Tensors are renamed here and go through ``from_pretrained`` as a state dict, so that its placement
and precision apply and no version-dependent renaming does.
"""

import re
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.device import Placement
from omnimem_cli.models.folder import Checkpoint, broken_folder
from omnimem_cli.models.loading import loading, silence_transformers
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter
from omnimem_cli.models.salmonn.audio_tower import unsupported_reason
from omnimem_cli.models.salmonn.layout import END, START
from omnimem_cli.models.salmonn.lora import merge_adapter
from omnimem_cli.models.salmonn.qwen3 import Qwen3Adapter
from omnimem_cli.models.salmonn.qwen25 import Qwen25Adapter
from omnimem_cli.models.tokenizer import read_tokenizer

FAMILIES: dict[str, type[SalmonnAdapter]] = {"qwen2_5_vl": Qwen25Adapter, "qwen3_vl": Qwen3Adapter}
"""By the config's ``model_type``."""
ENDS = ("<|im_end|>", "<|endoftext|>")
MARKS = (START, END, *ENDS)

_RENAMES = (
    (r"^visual\.", "model.visual."),
    (r"^model\.(?!visual\.|language_model\.|audio\.)", "model.language_model."),
    (r"^model\.audio\.", "audio."),
    (r"^audio\.(conv1|conv2|embed_positions|layers|layer_norm)\.", r"audio.encoder.\1."),
    (r"^audio\.qformer\.bert\.embeddings\.LayerNorm\.", "audio.qformer.layernorm."),
    (r"^audio\.qformer\.bert\.(encoder\..*attention)\.self\.", r"audio.qformer.\1.attention."),
    (r"^audio\.qformer\.bert\.", "audio.qformer."),
)
_BUFFER = "audio.qformer.embeddings.position_ids"  # integers 0..511 that nothing reads


def renamed(key: str) -> str:
    """A stored key (either family's layout) as the name of our module's tensor."""
    for pattern, target in _RENAMES:
        key = re.sub(pattern, target, key)
    return key


def load_adapter(checkpoint: Checkpoint, row: Row, placement: Placement) -> SalmonnAdapter:
    """The model of a folder, with its LoRA release merged into it.

    Raises MissingError where keys are missing, not ours, or of another shape, or marks lack an id; DoesNotFitError
    where memory runs out.
    """
    check_sound(checkpoint)
    family = FAMILIES[checkpoint.model_type]
    with silence_transformers(), loading(checkpoint.folder, placement.device):
        tensors = read_tensors(checkpoint)
        if checkpoint.lora is not None:
            merge_adapter(tensors, checkpoint.lora)
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        model = _model(family.model_class, config, tensors, checkpoint.folder, placement)
        tokenizer = read_tokenizer(tokenizer_folder(checkpoint.folder), MARKS)
    return adapter_of(model, tokenizer, checkpoint, row)


def check_sound(checkpoint: Checkpoint) -> None:
    """Raises MissingError for an ``audio_config`` that the audio tower cannot be built from."""
    why = unsupported_reason(checkpoint.config["audio_config"])
    if why is not None:
        raise broken_folder(checkpoint.folder, f"has an audio_config {why}")


def adapter_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, checkpoint: Checkpoint, row: Row
) -> SalmonnAdapter:
    """A loaded model as an adapter."""
    ends = tokenizer.convert_tokens_to_ids(list(ENDS))
    revision = checkpoint.folder.name if checkpoint.folder.parent.name == "snapshots" else None
    adapter = FAMILIES[checkpoint.model_type](model, tokenizer, row, tuple(ends), revision)
    adapter.penalty = checkpoint.repetition_penalty
    return adapter


def read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of a folder under its stored name, mapped from disk."""
    tensors: dict[str, Tensor] = {}
    for name in checkpoint.weight_files():
        tensors |= load_file(checkpoint.folder / name)
    return tensors


def _model(
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    stored: dict[str, Tensor],
    folder: Path,
    placement: Placement,
) -> PreTrainedModel:
    tensors = {renamed(key): value for key, value in stored.items()}
    tensors.pop(_BUFFER, None)
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        **placement.options(),
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    for what in ("missing", "unexpected", "mismatched"):
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report[f"{what}_keys"])
        if keys:
            raise broken_folder(folder, f"has {len(keys)} {what} weights (first: {keys[0]})")
    return model.eval().requires_grad_(False)


def tokenizer_folder(folder: Path) -> Path:
    """The OmniMem repository keeps the tokenizer in ``base``, beside the model's folder."""
    beside = folder.parent / "base"
    return beside if not (folder / "tokenizer_config.json").exists() and beside.is_dir() else folder
