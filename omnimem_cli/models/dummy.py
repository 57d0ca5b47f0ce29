"""A model of a published shape with random weights, drawn on the device itself: for timing, never for answers.

Knows the shapes (``geometry/NAME/config.json``, or any folder with a config) and the families; reads no weights and
uses no network. A shape alone gets the built-in model's tokenizer, with the family's marks added.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from omnimem_cli.models.adapter import Adapter
from omnimem_cli.models.catalogue import GB, Row, is_built_in, row, row_for_unlisted
from omnimem_cli.models.device import DTYPES, Placement, dtype_name, find_device
from omnimem_cli.models.families import family_of
from omnimem_cli.models.folder import Checkpoint, read_checkpoint
from omnimem_cli.models.loader import NANO, free_after_weights
from omnimem_cli.models.loading import loading, silence_transformers
from omnimem_cli.models.tokenizer import read_tokenizer, tokenizer_folder

GEOMETRY = Path(__file__).parent / "geometry"
_MARKS = ("vision_start", "vision_end", "audio_start", "audio_end", "image_pad", "video_pad", "audio_pad")


def random_adapter(model: str, *, device: str = "auto", dtype: str | None = None) -> Adapter:
    """The adapter of a catalogue name or of a folder with a config, with weights that mean nothing.

    Raises UsageError (unknown name), MissingError (no such device, a config of another kind), DoesNotFitError.
    """
    where = find_device(device)
    known, checkpoint = _shape(model)
    kind = dtype_name(dtype, where, known.cpu_dtype)
    if where.type != "meta":
        whole = Placement(where, str(DTYPES[kind]).removeprefix("torch."))  # what would be quantized is not, here
        free_after_weights(int(known.weights_gb(whole.weights) * GB), known.name, whole)
    return build_without_weights(known, checkpoint, where, kind)


def build_without_weights(known: Row, checkpoint: Checkpoint, device: torch.device, dtype: str) -> Adapter:
    """The adapter of a checkpoint's shape; on the device ``meta`` it has no weights at all.

    Raises MissingError for a folder that would not load, DoesNotFitError.
    """
    family = family_of(checkpoint)
    family.check(checkpoint)
    with silence_transformers(), loading(checkpoint.folder, device):
        model = _model(family.model_class, config_of(family.model_class, checkpoint), device, DTYPES[dtype])
    held = str(model.dtype).removeprefix("torch.")
    return family.adapter_of(model, _tokenizer(checkpoint, family.marks), checkpoint, known, held)


def published_config(known: Row) -> Checkpoint:
    """The published config of a catalogue row."""
    return read_checkpoint(NANO if is_built_in(known.name) else GEOMETRY / known.name)


def config_of(kind: type[PreTrainedModel], checkpoint: Checkpoint) -> PreTrainedConfig:
    """The folder's config; of a Thinker inside a whole model its own part."""
    return kind.config_class.from_pretrained(checkpoint.folder, local_files_only=True)


def _shape(model: str) -> tuple[Row, Checkpoint]:
    if not is_built_in(model) and Path(model).is_dir():
        checkpoint = read_checkpoint(Path(model))
        return row_for_unlisted(Path(model).resolve().name, family_of(checkpoint).name), checkpoint
    known = row(model)
    return known, published_config(known)


def _model(
    kind: type[PreTrainedModel], config: PreTrainedConfig, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """Weights that the library finds missing it makes where they belong: nothing is built on the host first.

    A shape alone needs no loader, which would take three times as long.
    """
    if device.type == "meta":
        with device:
            model = kind._from_config(config, dtype=dtype, attn_implementation="sdpa")
    else:
        model = kind.from_pretrained(
            None, config=config, state_dict={}, dtype=dtype, device_map={"": device}, attn_implementation="sdpa"
        )
    return model.eval().requires_grad_(False)  # the counter of operations refuses a view of what is trained


def _tokenizer(checkpoint: Checkpoint, marks: Iterable[str]) -> PreTrainedTokenizerBase:
    folder = tokenizer_folder(checkpoint.folder)
    if checkpoint.weight_files() or (folder / "tokenizer_config.json").exists():
        return read_tokenizer(folder, marks)
    tokenizer = AutoTokenizer.from_pretrained(NANO, local_files_only=True)
    tokenizer.add_tokens([f"<|{mark}|>" for mark in _MARKS], special_tokens=True)
    return tokenizer
