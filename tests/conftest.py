"""Fixtures that every part may use: tiny random checkpoints, built once per run."""

from pathlib import Path

import pytest
from tiny import tiny_omni

from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni import QwenOmniAdapter


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2.5-Omni Thinker on disk."""
    return tiny_omni(tmp_path_factory.mktemp("tiny") / "thinker")


@pytest.fixture(scope="session")
def tiny_full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in the hub's layout of the whole model."""
    return tiny_omni(tmp_path_factory.mktemp("tiny") / "full", layout="full")


@pytest.fixture
def tiny_adapter(tiny_folder: Path) -> QwenOmniAdapter:
    """A new adapter, with a stream state of its own."""
    return load(str(tiny_folder), device="cpu")
