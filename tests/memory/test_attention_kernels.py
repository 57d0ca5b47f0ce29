"""Which attention kernel is used: an installed FlashAttention release only where it fits the device and is right."""

import pytest
import torch
from torch.nn import attention

from omnimem_cli.memory import attention_kernels as kernels
from omnimem_cli.memory.attention import attend_biased, attend_masked

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

    def halved_biased(q, k, v, scaling, bias):
        out, lse = kernels.reference_biased(q, k, v, scaling, bias)
        return out / 2, lse

    monkeypatch.setattr(kernels, "_FAST", {"cpu": (halved,)})
    monkeypatch.setattr(kernels, "_FAST_BIASED", {"cpu": (halved_biased,)})
    monkeypatch.setattr(kernels, "_proven", kernels._proven.__wrapped__)
    where = torch.device("cpu"), torch.float32, 24
    with pytest.warns(UserWarning, match="portable kernel is slower"):
        assert kernels.best_kernel(*where) is kernels.reference_kernel
    with pytest.warns(UserWarning, match="portable kernel is slower"):
        assert kernels.best_biased_kernel(*where) is kernels.reference_biased


def test_a_bias_hides_keys_from_every_query_of_its_row():
    q, k, v = torch.randn(3, 2, 4, 1, 16), torch.randn(2, 2, 9, 16), torch.randn(2, 2, 9, 16)
    bias = torch.zeros(2, 1, 1, 9)
    bias[0, ..., 5:], bias[1, ..., ::2] = -torch.inf, -torch.inf
    ours = attend_biased(q[0], k, v, 0.3, bias)
    theirs = attend_masked(q[0], k, v, 0.3, bias[:, 0] == 0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_parts_without_keys_merge_to_nothing():
    none = torch.zeros(1, 2, 3, 8), torch.full((1, 2, 3), -torch.inf)
    some = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 3)
    for parts in ([none, some], [some, none, none]):
        assert all(torch.equal(a, b) for a, b in zip(kernels.merge(parts), some, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kernels.merge([none, none]), none, strict=True))
