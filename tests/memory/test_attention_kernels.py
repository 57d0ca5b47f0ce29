"""Which attention kernel is used: an installed FlashAttention release only where it fits the device and is right."""

import pytest
import torch
from torch.nn import attention

from omnimem_cli.memory import attention_kernels as kernels

HOPPER = torch.device("cuda", 0)


class Release:
    """A stand-in for an installed release that torch can be told to use."""

    def __init__(self):
        self.in_use = False

    def start(self) -> "Release":
        self.in_use = True
        return self

    def remove(self) -> None:
        self.in_use = False


@pytest.fixture
def release(monkeypatch):
    """Torch knows ``fast``; its module is one that every Python has."""
    fast = Release()
    monkeypatch.setattr(attention._registry, "_FLASH_ATTENTION_IMPLS", {})
    monkeypatch.setattr(attention._registry, "_FLASH_ATTENTION_ACTIVE", None)
    attention.register_flash_attention_impl("fast", register_fn=fast.start)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(kernels, "PACKAGES", {9: (("fast", "json"),)})
    monkeypatch.setattr(kernels, "_matches_reference", lambda *_: True)
    kernels.use_installed_flash.cache_clear()
    yield fast
    kernels.use_installed_flash.cache_clear()


def test_an_installed_release_is_used(release):
    assert kernels.use_installed_flash(HOPPER) == "fast" and release.in_use


def test_a_release_that_is_wrong_for_one_head_size_is_not_used(release, monkeypatch):
    monkeypatch.setattr(kernels, "_matches_reference", lambda kernel, device, dtype, head_dim: head_dim != 80)
    assert kernels.use_installed_flash(HOPPER) == "torch" and not release.in_use


@pytest.mark.parametrize("module", ["no_such_module", "no_such_package.inside"])
def test_a_release_that_is_not_installed_is_not_asked_for(release, monkeypatch, module):
    monkeypatch.setattr(kernels, "PACKAGES", {9: (("fast", module),)})
    assert kernels.use_installed_flash(HOPPER) == "torch" and not release.in_use


def test_a_release_made_for_other_devices_is_not_asked_for(release, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert kernels.use_installed_flash(HOPPER) == "torch" and not release.in_use


def test_a_release_that_cannot_start_is_named_and_the_next_one_used(release, monkeypatch):
    def broken():
        raise ImportError("built for another torch")

    attention.register_flash_attention_impl("newest", register_fn=broken)
    monkeypatch.setattr(kernels, "PACKAGES", {9: (("newest", "json"), ("fast", "json"))})
    with pytest.warns(UserWarning, match="newest is installed but cannot be used: built for another torch"):
        assert kernels.use_installed_flash(HOPPER) == "fast"
    assert release.in_use


def test_what_somebody_chose_before_stays(release):
    other = Release()
    attention.register_flash_attention_impl("other", register_fn=other.start)
    attention.activate_flash_attention_impl("other")
    assert kernels.use_installed_flash(HOPPER) == "other" and other.in_use and not release.in_use


def test_every_release_is_one_that_torch_knows():
    named = {name for releases in kernels.PACKAGES.values() for name, _ in releases}
    assert named <= set(attention.list_flash_attention_impls())


def test_a_kernel_that_gives_other_numbers_is_not_used(monkeypatch):
    def halved(q, k, v, scaling, causal):
        out, lse = kernels.reference_kernel(q, k, v, scaling, causal)
        return out / 2, lse

    monkeypatch.setattr(kernels, "_FAST", {"cpu": (halved,)})
    with pytest.warns(UserWarning, match="portable kernel is slower"):
        assert kernels.best_kernel.__wrapped__(torch.device("cpu"), torch.float32, 24) is kernels.reference_kernel
