"""A model folder's tokenizer, with every mark that the prompts are made of. Knows no model."""

from collections.abc import Iterable
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from omnimem_cli.models.folder import broken_folder

TURNS = ("<|im_start|>", "<|im_end|>")
"""What every family's chat is framed by."""
ENDS = ("<|im_end|>", "<|endoftext|>")
"""What ends an answer of every family, whatever else its folder lists."""


def tokenizer_folder(folder: Path) -> Path:
    """The OmniMem repository keeps the tokenizer in ``base``, next to the model's folder."""
    base = folder.parent / "base"
    return base if not (folder / "tokenizer_config.json").exists() and base.is_dir() else folder


def read_tokenizer(folder: Path, marks: Iterable[str]) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``. Raises MissingError where it cannot be read or one of ``marks`` has no id in it.

    The library makes an empty tokenizer of a folder without one: no question would reach the model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken_folder(folder, f"holds no tokenizer that can be read ({type(error).__name__})") from error
    absent = [mark for mark in (*TURNS, *marks) if not _has(tokenizer, mark)]
    if absent:
        raise broken_folder(folder, f"holds no tokenizer, or one that lacks {len(absent)} marks (first: {absent[0]})")
    return tokenizer


def answer_ends(tokenizer: PreTrainedTokenizerBase, listed: Iterable[int]) -> tuple[int, ...]:
    """Ids that end an answer: ``ENDS``, the tokenizer's own end, and those of ``listed`` that are special tokens.

    An Omni folder may list the ends of its voice. In the text these are ordinary words, which end nothing.
    """
    own = [tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(end) for end in ENDS if _has(tokenizer, end))]
    special = [end for end in listed if end in tokenizer.added_tokens_decoder]
    return tuple(sorted({end for end in (*own, *special) if end is not None}))


def _has(tokenizer: PreTrainedTokenizerBase, mark: str) -> bool:
    """An unknown token may be given the id of another."""
    number = tokenizer.convert_tokens_to_ids(mark)
    return number is not None and tokenizer.convert_ids_to_tokens(number) == mark
