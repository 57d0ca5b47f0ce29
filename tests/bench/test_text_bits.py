"""A tiny random language model read through the engine's quantized entries."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from omnimem_cli.bench.tables import text_bits_table
from omnimem_cli.bench.text_bits import BITS, cache_of, logits_of, perplexity


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, vocab_size=300, initializer_range=0.2)
    own = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()
    for layer in own.model.layers:
        layer.self_attn.k_proj.bias.data.normal_(0, 5)  # as trained ones: it must not widen the codes' steps
    return own


IDS = torch.randint(0, 300, (600,), generator=torch.Generator().manual_seed(1))


def test_sixteen_bits_are_the_models_own_pass(model):
    with torch.no_grad():
        whole = model(IDS[None]).logits[0]
    assert (logits_of(model, IDS, cache_of(model, 16)) - whole).abs().max() < 1e-3


def test_fewer_bits_change_what_is_read_of_earlier_chunks_and_the_less_the_more_bits_there_are(model):
    whole, *fewer = (logits_of(model, IDS, cache_of(model, bits)) for bits in BITS)
    first = slice(0, 256)
    assert all((other[first] - whole[first]).abs().max() < 1e-4 for other in fewer), "a chunk sees itself whole"
    at_8, at_4 = ((other[256:] - whole[256:]).square().mean().sqrt() for other in fewer)
    assert 0 < at_8 < at_4 / 4 and at_8 < 0.05 * whole.std()


def test_perplexity_of_windows_is_over_all_their_tokens(model):
    whole = logits_of(model, IDS[:100], cache_of(model, 16))
    expected = torch.nn.functional.cross_entropy(whole[:-1], IDS[1:100]).exp()
    assert perplexity(model, [IDS[:100]], 16) == pytest.approx(float(expected), rel=1e-4)


def test_the_table_has_a_line_per_number_of_bits():
    rows = [{"bits": bits, "perplexity": 7.5, "found": 9, "needles": 10} for bits in BITS]
    table = text_bits_table({"model": "Tiny", "windows": 2, "tokens": 768, "rows": rows})
    assert "7.500" in table and "9 of 10" in table and table.count("\n") == 6
