"""SnapKV, StreamingLLM and key norm keep what NVIDIA kvpress keeps, on a tiny text-only Qwen3.

Runs where kvpress is installed; it is no dependency. Text tokens stand in for media, and the sinks for the prefix.
"""

import pytest
import torch
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.tokens import AUDIO, PREFIX, text_chunk

kvpress = pytest.importorskip("kvpress")
LENGTH = 120


class OneAxis(torch.nn.Module):
    """A text model as the memory calls decoders: with three equal rows of positions."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.layers, self.rotary_emb = model, model.config, model.layers, model.rotary_emb

    def set_attn_implementation(self, name):
        self.model.set_attn_implementation(name)

    def forward(self, inputs_embeds, position_ids, **kwargs):
        return self.model(inputs_embeds=inputs_embeds, position_ids=position_ids[0], **kwargs)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, initializer_range=0.3,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval().requires_grad_(False)
    for layer in model.model.layers:  # unit norms would leave all keys of a head equally long
        layer.self_attn.k_norm.weight.data = torch.rand(16) * 2
    return model


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(0, 320, (1, LENGTH), generator=torch.Generator().manual_seed(1))


def theirs(model, tokens, press, kept):
    """Kept indices [G, kept] per layer, found by their keys among those of the whole prompt."""
    model.set_attn_implementation("eager")
    whole, pressed = DynamicCache(), DynamicCache()
    model.model(input_ids=tokens, past_key_values=whole)
    with press(model):
        # transformers 5.20 and later no longer hand down the places that kvpress 0.5 tells a prefill by
        model.model(input_ids=tokens, past_key_values=pressed, cache_position=torch.arange(LENGTH))
    for before, after in zip(whole.layers, pressed.layers, strict=True):
        distance = torch.cdist(after.keys[0], before.keys[0], compute_mode="donot_use_mm_for_euclid_dist")
        assert after.keys.shape[2] == kept and float(distance.amin(-1).max()) < 1e-4
        yield distance.argmin(-1).sort(dim=-1).values


def ours(model, tokens, policy, sinks, kept):
    decoder = OneAxis(model.model)
    memory = Memory(decoder, make_policy(policy), even_budgets(3, kept - sinks, 1.0, False, True), dtype=torch.float32)
    chunk = text_chunk(model.model.embed_tokens(tokens[0]), 0, AUDIO)
    chunk.kind[:sinks] = PREFIX
    memory.absorb(chunk)
    return [store.table["index"].long() for store in memory.stores]


CASES = {  # policy: sinks, press
    "sliding-window": (4, lambda: kvpress.StreamingLLMPress(0.5, n_sink=4)),
    "key-norm": (0, lambda: kvpress.KnormPress(0.5)),
    "snapkv:window=16": (0, lambda: kvpress.SnapKVPress(0.5, window_size=16, kernel_size=5)),
}


@pytest.mark.parametrize("policy", CASES)
def test_the_same_entries_stay_as_in_kvpress(model, tokens, policy):
    sinks, press = CASES[policy]
    expected = list(theirs(model, tokens, press(), LENGTH // 2))
    for index, reference in zip(ours(model, tokens, policy, sinks, LENGTH // 2), expected, strict=True):
        assert torch.equal(index.expand_as(reference), reference)
