"""Fixtures that every part may use: tiny random checkpoints, built once per run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnimem_cli.base.process import wait_passively

wait_passively()  # before anything imports torch

from tiny import tiny_omni

from omnimem_cli.base.console import console
from omnimem_cli.models.loader import load
from omnimem_cli.models.qwen_omni.adapter import QwenOmniAdapter

if TYPE_CHECKING:
    from fake_run import FakeRun


@pytest.fixture(scope="session", autouse=True)
def in_float32() -> Iterator[None]:
    """Every machine tests in float32, whatever its processor would take: equal means equal there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omnimem_cli.models.device.bfloat16_is_faster", lambda: False)
        yield


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
    """A new adapter with a decoder of its own."""
    return load(str(tiny_folder), device="cpu")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "FakeRun":
    """A command line whose watching is scripted, in an empty working directory without a user's config."""
    from fake_run import FakeRun

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    return FakeRun(monkeypatch)


@pytest.fixture(autouse=True)
def same_process():
    """What a command sets for its own process (``--offline``, ``--quiet``) must not reach the next test."""
    before = dict(os.environ)
    console.configure()
    yield
    os.environ.clear()
    os.environ.update(before)
