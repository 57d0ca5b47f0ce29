"""The arithmetic that a rate is divided by: counted here, and by torch."""

import pytest
import torch
from decoders import DECODERS, stream
from tiny_qwen3 import tiny_qwen3_omni
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from omnimem_cli.bench.flops import attention_flops, encoder_flops, linear_flops, matmul_rate
from omnimem_cli.models.loader import load


def counted(decoder: torch.nn.Module, tokens: int) -> int:
    """What torch counts for one forward pass of plain attention: causal masks there save nothing."""
    piece = stream(20).cut(0, tokens)
    decoder.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        decoder(inputs_embeds=piece.embeds[None], position_ids=piece.positions[:, None], use_cache=False)
    return counter.get_total_flops()


@pytest.mark.parametrize("family", [family for family in DECODERS if family != "qwen3-omni"])  # torch counts no experts
def test_linear_layers_and_attention_are_what_torch_counts(family):
    decoder, n = DECODERS[family](), 64
    whole = n * linear_flops(decoder) + attention_flops(decoder, n, [(n - 1) / 2] * 4)  # uncausal: n x n pairs
    assert counted(decoder, n) == pytest.approx(whole, rel=0.02)


def test_only_the_chosen_experts_work(tmp_path):
    decoder = load(str(tiny_qwen3_omni(tmp_path / "m")), device="cpu").decoder
    experts = sum(p.numel() for p in decoder.layers.parameters() if p.dim() == 3)
    rest = sum(p.numel() for p in decoder.layers.parameters() if p.dim() == 2)
    assert experts and linear_flops(decoder) == 2 * (rest + experts / 2)


def test_an_encoders_attention_is_counted():
    q = torch.randn(2, 4, 50, 16)
    attention = encoder_flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
    assert attention == 4 * 2 * 4 * 50 * 50 * 16


def test_the_matmul_rate_is_that_of_this_machine():
    assert 1e8 < matmul_rate(torch.device("cpu"), torch.float32, repeats=2) < 1e15
