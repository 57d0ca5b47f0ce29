"""How nano is taught to count: attention as a balance between beginnings and the first token."""

from types import SimpleNamespace

import pytest
import torch

from omnimem_cli.train.targets.count_targets import BALANCES, count_loss
from omnimem_cli.train.targets.moment_labels import LABELS
from omnimem_cli.train.tower_stage import IGNORE

LENGTH, HEADS = 41, 4
SLIDES, WORDS = (3, 4, 5, 6, 17, 18, 19, 20), (8, 9, 10)


def _batch():
    """A first token, then 40 media tokens in which two slides and a word begin."""
    labels = torch.full((1, LENGTH, len(LABELS)), IGNORE)
    for label, columns in (("slide_begins", SLIDES), ("word_begins", WORDS)):
        labels[0, 1:, LABELS.index(label)] = 0
        labels[0, columns, LABELS.index(label)] = 1
    return SimpleNamespace(is_media=torch.arange(LENGTH)[None] > 0, labels=labels)


def _balanced():
    """Keys and queries [heads, s, d] by which every head attends as it is taught."""
    logits = torch.full((HEADS, LENGTH), -40.0)
    for label, head, against, tokens in BALANCES:
        logits[head, 0] = torch.tensor(against * tokens).log()
        logits[head, list(SLIDES if label == "slide_begins" else WORDS)] = 0.0
    return logits


def _loss(logits):
    queries = torch.zeros(HEADS, LENGTH, 4)
    queries[..., 0] = 2.0  # times d ** -0.5
    keys = torch.zeros(HEADS, LENGTH, 4)
    keys[..., 0] = logits
    return float(count_loss(SimpleNamespace(queries=[queries[None]], keys=[keys[None]]), _batch(), 0))


def test_balanced_attention_is_not_punished():
    assert _loss(_balanced()) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("column", [0, SLIDES[0], WORDS[1], 30])
def test_more_attention_for_one_token_than_for_its_like_is_punished(column):
    logits = _balanced()
    logits[:, column] = logits[:, column] + 1.0 if column != 30 else 0.0
    assert _loss(logits) > 0.005


def test_what_begins_later_does_not_count_yet():
    late, early = _balanced(), _balanced()
    late[:, 40], early[:, 1] = 5.0, 5.0
    assert _loss(late) < 0.5 < _loss(early), "only the last row can see the last token"
