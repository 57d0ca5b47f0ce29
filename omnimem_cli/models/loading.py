"""Around the library's ``from_pretrained``: its errors as errors that a user can act on, and its output silenced.

Knows the words of torch's allocators: memory that runs out on the CPU has no exception class of its own. Knows no
family. `out_of_memory_reason` serves a watch too, where memory can run out as well.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from omnimem_cli.base.errors import DoesNotFitError, UserError
from omnimem_cli.base.sizes import format_bytes
from omnimem_cli.models.download import first_line
from omnimem_cli.models.folder import broken_folder

_SPENT = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What a RuntimeError says where memory ran out and torch raised no OutOfMemoryError."""


def out_of_memory_reason(error: BaseException) -> str | None:
    """What an error says of memory that ran out, in a few words; None of every other error."""
    spent = isinstance(error, RuntimeError) and any(words in str(error) for words in _SPENT)
    spent |= isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not spent and not isinstance(error, torch.OutOfMemoryError | MemoryError):
        return None
    asked = re.search(r"you tried to allocate (\d+) bytes", str(error))
    if asked:
        return f"it asked for {format_bytes(int(asked[1]))} at once"
    return f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0].rstrip(".: ")


@contextmanager
def loading(folder: Path, device: torch.device) -> Iterator[None]:
    """DoesNotFitError where memory runs out inside, MissingError for whatever else the library raises of a folder."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a folder can be wrong in ways that the library meets with any class of error
        if out_of_memory_reason(error) is not None:
            raise DoesNotFitError(
                f"The weights in {folder} do not fit on {device}.",
                "`omnimem doctor` says which models fit; --device cpu is slow but has more memory.",
            ) from error
        raise broken_folder(folder, f"cannot be loaded: {first_line(error).rstrip('.')}") from error


HEAD = "lm_head.weight"


def check_weights(model: PreTrainedModel, folder: Path, report: dict) -> None:
    """Raises MissingError where the folder lacked weights or had others than its config says (the library's report).

    A head that alone is missing is the input embeddings: some releases leave it out without saying so in the config.
    """
    missing = sorted(report["missing_keys"])
    if missing == [HEAD]:
        model.lm_head.weight = model.get_decoder().get_input_embeddings().weight
    elif missing:
        raise broken_folder(folder, f"lacks {len(missing)} of the model's weights (first: {missing[0]})")
    other = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if other:
        raise broken_folder(
            folder, f"holds {len(other)} weights of another shape than its config says (first: {other[0]})"
        )


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """DoesNotFitError where memory runs out inside: a device is shared, and the size of a watch is an estimate."""
    reason = None
    try:
        yield
    except Exception as error:
        reason = out_of_memory_reason(error)
        if reason is None:
            raise
    # Outside of the handler: the next input needs the memory that the traceback's frames hold.
    if reason is not None:
        raise DoesNotFitError(
            f"{what} took more memory than there is ({reason}).",
            "Use a smaller --budget, --chunk or --max-pixels; `omnimem doctor INPUT` says what fits.",
        )


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Within, the library logs errors only and draws no progress bars."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
