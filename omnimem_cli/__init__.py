"""omnimem: long videos through an audio-visual language model, inside a fixed KV-memory budget.

The names of ``__all__`` are the Python API, from `omnimem_cli.jobs.api`. Importing the package imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnimem_cli.jobs.api import Model, VideoMemory, load_model

__version__ = "0.1.0"
__all__ = ["Model", "VideoMemory", "load_model"]


def __getattr__(name: str) -> Any:
    """The names of the API, once they are used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from omnimem_cli.base.process import wait_passively

    wait_passively()
    from omnimem_cli.jobs import api

    return getattr(api, name)
