"""nano's start: what its attention can do before it has learned anything, and what it is to ask for."""

import numpy as np
import pytest
import torch
from torch import nn

from omnimem_cli.train.architecture import EVIDENCE_LAYER, HIDDEN, NAME_LAYER, build
from omnimem_cli.train.decoder import Trace
from omnimem_cli.train.losses import Asking
from omnimem_cli.train.packing import Packer, Sample, Task
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.start import look_up_names
from omnimem_cli.train.tokenizer import build_tokenizer, one_token
from omnimem_cli.world.questions import question
from omnimem_cli.world.video import make_video

WORDS = 64


@pytest.fixture(scope="module")
def started():
    torch.manual_seed(0)
    lm, before = build().model.language_model, nn.Linear(HIDDEN, HIDDEN)
    look_up_names(lm, before)
    return lm, before, torch.nn.functional.normalize(torch.randn(WORDS, HIDDEN), dim=1)


def _best(lm, asked, held, head):
    """For each name asked for, the place of the key that one head likes best."""
    attention = lm.layers[EVIDENCE_LAYER].self_attn
    size = attention.head_dim
    queries = attention.q_proj(asked)[:, head * size : (head + 1) * size]
    group = head // attention.num_key_value_groups
    keys = attention.k_proj(held)[:, group * size : (group + 1) * size]
    return (queries @ keys.T).argmax(1)


@torch.no_grad()
@pytest.mark.parametrize("head", [0, 2])
def test_even_heads_find_the_tokens_that_have_the_name(started, head):
    lm, _, names = started
    assert torch.equal(_best(lm, names, names, head), torch.arange(WORDS))


@torch.no_grad()
@pytest.mark.parametrize("head", [1, 3])
def test_odd_heads_find_the_tokens_before_which_the_name_came(started, head):
    lm, before, names = started
    remembered = names @ before.weight  # what `before` reads back as the names
    assert torch.equal(_best(lm, names, remembered, head), torch.arange(WORDS))


@torch.no_grad()
@pytest.mark.parametrize("layer", [NAME_LAYER, EVIDENCE_LAYER])
def test_what_is_looked_at_arrives_as_itself(started, layer):
    lm, _, names = started
    attention = lm.layers[layer].self_attn
    values = attention.v_proj(names).unflatten(1, (-1, attention.head_dim))
    arrived = attention.o_proj(values.repeat_interleave(attention.num_key_value_groups, 1).flatten(1))
    assert torch.equal((arrived @ names.T).argmax(1), torch.arange(WORDS))


def _batch(tokenizer, kind):
    video = make_video(11, 4, "even")
    seconds = round(video.duration_s)
    encoded = Encoded(video, torch.zeros(seconds, 4, HIDDEN), torch.zeros(seconds // 2, 20, HIDDEN))
    tasks = [Task(question(kind, video, np.random.default_rng(0)), seconds)]
    return Packer(tokenizer, HIDDEN).pack([Sample(encoded, "av", tasks)])


def _asking_loss(kind, carried):
    """The loss when every answer token's state is the sum of the embeddings of what is `carried`."""
    tokenizer = build_tokenizer()
    batch, lm = _batch(tokenizer, kind), build().model.language_model
    ids = [one_token(tokenizer, f" {name}") for name in carried]
    states = torch.zeros(1, batch.ids.shape[1], HIDDEN)
    states[0, batch.names[0][:, 0]] = lm.embed_tokens.weight[ids].sum(0)
    lm.embed_tokens.weight.data *= 20
    trace = Trace(states, [states] * 5, [], [])
    return float(Asking(tokenizer)(lm, trace, batch))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["slide_at", "digit"])
def test_an_answer_token_that_carries_the_names_asked_for_loses_nothing(kind):
    names = question(kind, make_video(11, 4, "even"), np.random.default_rng(0)).names
    other = {"slide_at": ("zebra",), "digit": ("red", "star")}[kind]
    assert not set(other) & set(names), "the test needs other names"
    assert _asking_loss(kind, names) < 0.5 < _asking_loss(kind, other)
