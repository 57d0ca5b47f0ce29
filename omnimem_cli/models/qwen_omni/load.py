"""A Qwen-Omni folder to an adapter: the Thinker alone, whatever else the folder holds."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2_5OmniThinkerForConditionalGeneration

from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.device import Placement
from omnimem_cli.models.family import Family
from omnimem_cli.models.folder import Checkpoint, broken_folder
from omnimem_cli.models.loading import check_weights, loading
from omnimem_cli.models.qwen_omni.adapter import QwenOmniAdapter
from omnimem_cli.models.tokenizer import answer_ends
from omnimem_cli.models.towers.mel import MelSettings
from omnimem_cli.models.towers.patches import CELLS_MAX, PatchSettings


class QwenOmniFamily(Family):
    """A Thinker's family."""

    adapter_class: type[QwenOmniAdapter]

    @property
    def marks(self) -> Iterable[str]:
        """Around picture and sound."""
        return self.adapter_class.marks.values()

    def read_model(self, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
        """The Thinker, whatever else the folder holds."""
        model, report = self.model_class.from_pretrained(
            checkpoint.folder,
            **placement.options(),
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        check_weights(model, checkpoint.folder, report)
        return model

    def adapter_of(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        checkpoint: Checkpoint,
        row: Row,
        weights_dtype: str,
    ) -> QwenOmniAdapter:
        """With the folder's preprocessing settings."""
        with loading(checkpoint.folder, model.device):  # settings may be of any kind
            mel, patches = _mel_settings(checkpoint), _patch_settings(checkpoint, self.adapter_class.patches)
            ends = answer_ends(tokenizer, checkpoint.listed_ends)
            adapter = self.adapter_class(model, tokenizer, checkpoint, row, ends, weights_dtype, mel, patches)
        _check_clock(checkpoint.folder, adapter)
        _check_inputs(checkpoint.folder, adapter)
        return adapter


FAMILIES = (
    QwenOmniFamily(
        "qwen2.5-omni",
        ("qwen2_5_omni", "qwen2_5_omni_thinker"),
        Qwen2_5OmniThinkerForConditionalGeneration,
        QwenOmniAdapter,
    ),
)


def _check_clock(folder: Path, adapter: QwenOmniAdapter) -> None:
    """Sound must advance one position per token, or picture and sound would drift apart."""
    tokens = adapter.tokens_of(adapter.log_mel.settings.frames_in(adapter.segment_s))
    if tokens != adapter.segment_s * adapter.config.position_id_per_seconds:
        raise broken_folder(folder, "has preprocessing settings and a config that disagree on audio tokens per second")


def _check_inputs(folder: Path, adapter: QwenOmniAdapter) -> None:
    """Patches and log-mel must have the shapes that the towers were built for."""
    cut, vision = adapter.patches, adapter.config.vision_config
    made = (cut.patch_size, cut.temporal_patch_size, cut.merge_size, adapter.log_mel.settings.feature_size)
    wanted = (vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size)
    if made != (*wanted, adapter.config.audio_config.num_mel_bins):
        raise broken_folder(folder, "has preprocessing settings of another model's towers")


def _mel_settings(checkpoint: Checkpoint) -> MelSettings:
    return MelSettings(**_known(checkpoint.settings("feature_extractor"), MelSettings))


def _patch_settings(checkpoint: Checkpoint, own: PatchSettings) -> PatchSettings:
    """The folder's; what it does not say is the family's ``own``."""
    image = checkpoint.settings("image_processor")
    known = _known(image, PatchSettings) | {"min_pixels": None, "max_pixels": None}
    known |= {name: tuple(known[name]) for name in ("image_mean", "image_std") if name in known}
    settings = replace(own, **known)
    size = checkpoint.settings("video_processor").get("size") or image.get("size") or {}
    most = size.get("longest_edge") or image.get("max_pixels")
    cap = CELLS_MAX * settings.cell**2
    return replace(settings, max_pixels=min(most or cap, cap))


def _known(values: dict, kind: type) -> dict:
    return {name: values[name] for name in kind.__dataclass_fields__ if values.get(name) is not None}
