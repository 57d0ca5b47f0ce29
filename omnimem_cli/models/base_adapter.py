"""What the adapters of all families share: where a model comes from, text in and out, and the size of a frame."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Media
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.device import joined
from omnimem_cli.models.folder import Checkpoint
from omnimem_cli.models.towers.patches import PatchSettings

if TYPE_CHECKING:  # only answers with a schema wait for it
    from llguidance import LLTokenizer


class BaseAdapter:
    """A loaded model. ``row``: its defaults; ``name``, ``revision``: its origin; ``patches``: how frames are cut."""

    patches: PatchSettings
    lora: dict[str, str] | None = None
    """Name and revision of LoRA weights that were merged in."""
    mrope: ClassVar[tuple[str, ...]] = ("released",)
    """Rules of positions that there are to choose from."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        checkpoint: Checkpoint,
        row: Row,
        eos_ids: tuple[int, ...],
        weights_dtype: str,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.decoder = model.get_decoder()
        self.row, self.name, self.revision = row, row.name, checkpoint.commit
        self.eos_ids, self.penalty = eos_ids, checkpoint.repetition_penalty
        self.device, self.dtype, self.weights_dtype = model.device, model.dtype, weights_dtype

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., D]."""
        return self.decoder.get_input_embeddings()(ids)

    @torch.no_grad()
    def head(self, hidden: Tensor) -> Tensor:
        """Final hidden states [..., D] to logits [..., V] in fp32."""
        return self.model.lm_head(hidden).float()

    @cached_property
    def vocabulary(self) -> "LLTokenizer":
        """The bytes of every token, as many as there are logits; a grammar is read over them.

        Special tokens have names there that no text holds: an answer that may hold ``<|im_end|>`` spells it out.
        """
        from llguidance import LLTokenizer

        written = json.loads(self.tokenizer.backend_tokenizer.to_str())
        names = written["model"]["vocab"]
        for token in written["added_tokens"]:
            names.pop(token["content"], None)
            token |= {"content": f"\0{token['id']}", "special": True}
            names[token["content"]] = token["id"]
        return LLTokenizer(json.dumps(written), n_vocab=self.model.lm_head.out_features, eos_token=list(self.eos_ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens skipped."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def embed_ids(self, ids: list[int]) -> Tensor:
        """A list of n token ids to embeddings [n, D] on the device."""
        return self.embed(joined([torch.tensor(ids, dtype=torch.long)], self.device))

    def _check_mrope(self, options: WatchOptions) -> None:
        """Raises UsageError for a rule that the family does not have."""
        if options.mrope not in self.mrope:
            raise UsageError(f"{self.name} has one rule of positions.", "Leave out --mrope.")

    def _frame_size(self, media: Media, options: WatchOptions) -> tuple[int, int]:
        """Width and height that frames are scaled to, (0, 0) without picture. Raises UsageError: too few pixels."""
        if media.video is None:
            return 0, 0
        least = self.patches.cell**2
        if options.max_pixels is not None and options.max_pixels < least:
            raise UsageError(
                f"{self.name} needs at least {least} pixels per frame, not {options.max_pixels}.",
                f"Use --max-pixels {least} or more.",
            )
        limit = options.max_pixels or self.row.max_pixels
        return self.patches.grid(media.video.width, media.video.height, limit)
