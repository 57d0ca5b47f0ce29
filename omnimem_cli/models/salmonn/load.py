"""Released checkpoints to an adapter: key names, completeness, LoRA. Knows stored keys, no forward pass.

The Qwen2.5-VL family is stored with the old names (``visual.*``, ``model.layers.*``, ``audio.*``), the Qwen3-VL
family with today's (``model.visual.*``, ``model.language_model.*``, ``model.audio.*``); both keep the audio tower's
original names. Tensors are renamed here and go through ``from_pretrained`` as a state dict, so that its placement
and precision apply and no version-dependent renaming does.
"""

import re
from collections.abc import Iterable
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
from omnimem_cli.models.family import Family
from omnimem_cli.models.folder import UNUSED, Checkpoint, broken_folder
from omnimem_cli.models.loading import check_weights
from omnimem_cli.models.lora import merge_adapter
from omnimem_cli.models.salmonn.adapter import SalmonnAdapter
from omnimem_cli.models.salmonn.audio_tower import unsupported_reason
from omnimem_cli.models.salmonn.layout import END, START
from omnimem_cli.models.salmonn.qwen3 import Qwen3Adapter, Qwen3Salmonn
from omnimem_cli.models.salmonn.qwen25 import Qwen25Adapter, Qwen25Salmonn
from omnimem_cli.models.tokenizer import ENDS, answer_ends

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


def renamed(key: str) -> str:
    """A stored key (either family's layout) as the name of our module's tensor."""
    for pattern, target in _RENAMES:
        key = re.sub(pattern, target, key)
    return key


class SalmonnFamily(Family):
    """A video-SALMONN 2+ family."""

    adapter_class: type[SalmonnAdapter]

    @property
    def marks(self) -> Iterable[str]:
        """Around the media, and ends of answers."""
        return MARKS

    def config_fault(self, checkpoint: Checkpoint) -> str | None:
        """An ``audio_config`` that the audio tower cannot be built from."""
        why = unsupported_reason(checkpoint.config["audio_config"])
        return None if why is None else f"has an audio_config {why}"

    def read_model(self, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
        """The model, with a LoRA release merged into it."""
        tensors = read_tensors(checkpoint)
        if checkpoint.lora is not None:
            merge_adapter(tensors, checkpoint.lora)
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        return _model(self.model_class, config, tensors, checkpoint.folder, placement)

    def adapter_of(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        checkpoint: Checkpoint,
        row: Row,
        weights_dtype: str,
    ) -> SalmonnAdapter:
        """With the release's own preprocessing: the folder's settings are not read."""
        ends = answer_ends(tokenizer, checkpoint.listed_ends)
        return self.adapter_class(model, tokenizer, checkpoint, row, ends, weights_dtype)


FAMILIES = (
    SalmonnFamily("salmonn-qwen2.5-vl", ("qwen2_5_vl",), Qwen25Salmonn, Qwen25Adapter, ("audio_config",)),
    SalmonnFamily("salmonn-qwen3-vl", ("qwen3_vl",), Qwen3Salmonn, Qwen3Adapter, ("audio_config",)),
)


def read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of a folder that a model reads, under its stored name, mapped from disk."""
    tensors: dict[str, Tensor] = {}
    for name in checkpoint.weight_files():
        tensors |= load_file(checkpoint.folder / name)
    return {name: tensor for name, tensor in tensors.items() if not UNUSED.search(name)}


def _model(
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    stored: dict[str, Tensor],
    folder: Path,
    placement: Placement,
) -> PreTrainedModel:
    tensors = {renamed(key): value for key, value in stored.items()}
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        **placement.options(),
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    check_weights(model, folder, report)
    unknown = sorted(report["unexpected_keys"])
    if unknown:
        raise broken_folder(folder, f"holds {len(unknown)} weights that its model does not have (first: {unknown[0]})")
    return model
