"""What nano's training punishes: attention in the wrong place, and labels that cannot be read out."""

from types import SimpleNamespace

import pytest
import torch

from omnimem_cli.train.architecture import HIDDEN, VOCABULARY
from omnimem_cli.train.losses import Readout, attention_loss
from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.train.packing import Targets
from omnimem_cli.world.slides import COLOURS


def _trace(keys, queries):
    """One sample, one layer: [heads, s, d]."""
    return SimpleNamespace(keys=[keys[None]], queries=[queries[None]])


def _batch(length):
    return SimpleNamespace(mask=torch.zeros(1, 1, length, length))


def test_attention_is_punished_by_what_lies_elsewhere():
    keys = torch.eye(4)[None] * 2  # one head, four tokens
    queries = torch.eye(4)[None] * 2
    trace = _trace(keys, queries)

    def loss(*columns):
        where = torch.tensor([[[column in columns for column in range(4)]]])
        return float(attention_loss(trace, _batch(4), Targets([torch.tensor([1])], [where]), 0))

    share = torch.softmax(torch.tensor([0.0, 2.0, 0.0, 0.0]), 0)
    assert loss(1) == pytest.approx(-float(share[1].log()), abs=1e-5)
    assert loss(0, 2) == pytest.approx(-float((share[0] + share[2]).log()), abs=1e-5)
    assert loss(0, 1, 2, 3) == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def lm():
    return SimpleNamespace(embed_tokens=SimpleNamespace(weight=torch.eye(VOCABULARY, HIDDEN)))


def test_a_number_is_read_as_the_thresholds_it_passes(lm):
    readout = Readout(build_tokenizer(), ["slides_so_far"])
    head = readout.heads["slides_so_far"]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.where(torch.arange(40) < 7, 9.0, -9.0))
    x = torch.zeros(2, HIDDEN)
    right, share = readout.loss("slides_so_far", x, torch.tensor([7, 7]), lm)
    wrong, none = readout.loss("slides_so_far", x, torch.tensor([8, 6]), lm)
    assert right < 0.1 < wrong and (share, none) == (1, 0)


def test_names_are_read_out_with_the_token_embeddings():
    tokenizer = build_tokenizer()
    readout = Readout(tokenizer, ["colour", "colour_before"])
    assert not len(readout.heads), "names need no parameters of their own"
    table = torch.randn(VOCABULARY, HIDDEN, generator=torch.Generator().manual_seed(0))
    lm = SimpleNamespace(embed_tokens=SimpleNamespace(weight=table))
    x = table[[tokenizer.encode(f" {list(COLOURS)[2]}")[0]]]
    assert readout.logits("colour_before", x, lm).argmax() == 3
