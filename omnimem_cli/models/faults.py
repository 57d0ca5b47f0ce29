"""What goes wrong while a folder becomes a model, as the errors that a person can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from omnimem_cli.errors import DoesNotFitError
from omnimem_cli.models.checkpoint import broken
from omnimem_cli.models.hub import first_line


@contextmanager
def loading(folder: Path, device: torch.device) -> Iterator[None]:
    """DoesNotFitError where memory runs out inside, MissingError for what the library cannot load."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DoesNotFitError(
            f"The weights in {folder} do not fit on {device}.",
            "`omnimem doctor` says which models fit; --device cpu is slow but has more memory.",
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise broken(folder, f"cannot be loaded: {first_line(error).rstrip('.')}") from error
