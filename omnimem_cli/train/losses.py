"""What nano's text model is trained on, besides the answers: what each moment means, and where each name is found.

Binding: after an early layer every media token should say the slide and word of its moment, read out with the token
embeddings themselves, and every name in a text should say itself; one layer on, what came before (read out with the
same embeddings, after one map), how much there was so far, what time it is and whether the slide is new. Lookups: one
layer later every name attends to where it is in the video (`lookups`). Reads: one layer later an answer attends to the
name it is about. All of it only teaches; nothing of it is left in the checkpoint.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer

from omnimem_cli.train.architecture import BINDING_LAYER, HIDDEN, LOOKUP_LAYER, ORDER_LAYER, READ_LAYER
from omnimem_cli.train.decoder import Trace
from omnimem_cli.train.encoders import IGNORE
from omnimem_cli.train.packing import CLOCK_S, COUNTED, LABELS, Batch
from omnimem_cli.train.tokenizer import one_token
from omnimem_cli.world.slides import COLOURS, DIGITS, SHAPES
from omnimem_cli.world.words import WORDS

FIRST_COUNT = LABELS.index("slides_so_far")
NOTHING_WEIGHT = 0.2  # most moments are silent, and what is said matters more than that nothing is


def name_ids(tokenizer: Qwen2Tokenizer) -> list[Tensor]:
    """Token ids of the names of colours, shapes, digits and words, each group led by " nothing"."""
    groups = [[f" {name}" for name in COLOURS], [f" {name}" for name in SHAPES], list(DIGITS), [f" {w}" for w in WORDS]]
    return [torch.tensor([one_token(tokenizer, text) for text in (" nothing", *group)]) for group in groups]


class Binding(nn.Module):
    """The binding losses. The map to what came before and the heads that count are parameters of this module."""

    def __init__(self, tokenizer: Qwen2Tokenizer):
        super().__init__()
        self.ids = name_ids(tokenizer)
        self.before = nn.Linear(HIDDEN, HIDDEN)
        self.progress = nn.ModuleList(nn.Linear(HIDDEN, n) for n in (COUNTED, COUNTED, CLOCK_S // 10, 10, 2))

    def forward(self, lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the labels and the share of tokens that are right, by label."""
        told = (batch.labels != IGNORE).any(-1)
        labels = batch.labels[told]
        now = lm.norm(trace.hidden[BINDING_LAYER - 1][told])
        later = lm.norm(trace.hidden[ORDER_LAYER - 1][told])
        before = self.before(later)
        logits = [now @ lm.embed_tokens.weight[ids].T for ids in self.ids]
        logits += [before @ lm.embed_tokens.weight[self.ids[i]].T for i in (0, 1, 3)]
        logits += [head(later) for head in self.progress]
        losses, right = [], {}
        for i, (name, values) in enumerate(zip(LABELS, logits, strict=True)):
            known = labels[:, i] != IGNORE
            if known.any():
                weights = torch.ones(values.shape[1])
                weights[0] = NOTHING_WEIGHT if i < FIRST_COUNT else 1.0
                losses.append(F.cross_entropy(values[known], labels[known, i], weights))
                something = known if i >= FIRST_COUNT else labels[:, i] > 0
                right[name] = (values.argmax(-1) == labels[:, i])[something].float().mean()
        return torch.stack(losses).mean(), right


def lookup_loss(trace: Trace, batch: Batch) -> Tensor:
    """Mean of -log(attention mass where it should lie), over rows and heads of which that is known."""
    losses = []
    for b, (rows, found) in enumerate(zip(batch.lookup_rows, batch.lookups, strict=True)):
        if len(rows):
            scores = _scores(trace, batch, LOOKUP_LAYER, b, rows)
            mass = scores.masked_fill(~found, float("-inf")).logsumexp(-1) - scores.logsumexp(-1)
            losses.append(-mass[found.any(-1)])
    return torch.cat(losses).mean()


def read_loss(trace: Trace, batch: Batch) -> Tensor:
    """Mean of -log(attention on the name an answer token is about), over answer tokens and heads.

    All heads: one that looks elsewhere brings along what it finds there, and the answer becomes a guess among events.
    """
    losses = []
    for b, pairs in enumerate(batch.reads):
        if len(pairs):
            rows, columns = pairs.unbind(1)
            mass = _scores(trace, batch, READ_LAYER, b, rows).log_softmax(-1)
            losses.append(-mass[:, torch.arange(len(rows)), columns].flatten())
    return torch.cat(losses).mean()


def _scores(trace: Trace, batch: Batch, layer: int, b: int, rows: Tensor) -> Tensor:
    """Attention scores [heads, rows, s] of some rows of a sample."""
    queries, keys = trace.queries[layer], trace.keys[layer]
    q = queries[b][:, rows]
    k = keys[b].repeat_interleave(len(q) // len(keys[b]), 0)
    stem = queries.shape[2] - batch.mask.shape[2]
    return (q @ k.transpose(1, 2)).float() * q.shape[-1] ** -0.5 + batch.mask[b, :, rows - stem]


def answer_loss(lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of the answer tokens, and whether each of them is the most likely one."""
    sample, row, token = batch.answers[:, 0], batch.answers[:, 1], batch.answers[:, 2]
    logits = trace.final[sample, row] @ lm.embed_tokens.weight.T
    losses = F.cross_entropy(logits, token, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum(), logits.argmax(-1) == token
