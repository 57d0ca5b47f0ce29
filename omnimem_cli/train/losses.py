"""What nano's text model is trained on, besides the answers: what each moment means, and where each answer is.

Binding: after an early layer every media token should say the slide and word of its moment, read out with the
token embeddings themselves; one layer on, what came before (read out with the same embeddings, after one map), how
much there was so far and what time it is. Evidence: one layer later the attention of an answer
token should lie on the tokens that hold the answer. Both only teach; nothing of them is left in the checkpoint.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer

from omnimem_cli.train.architecture import BINDING_LAYER, EVIDENCE_LAYER, HIDDEN, NAME_LAYER, ORDER_LAYER
from omnimem_cli.train.decoder import Trace
from omnimem_cli.train.encoders import IGNORE
from omnimem_cli.train.packing import CLOCK_S, COUNTED, LABELS, Batch
from omnimem_cli.train.tokenizer import one_token
from omnimem_cli.world.slides import COLOURS, DIGITS, SHAPES
from omnimem_cli.world.words import WORDS

HEAD_SHARPNESS = 2.0
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
        self.progress = nn.ModuleList(nn.Linear(HIDDEN, n) for n in (COUNTED, COUNTED, CLOCK_S // 10, 10))

    def forward(self, lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the labels and the share of tokens that are right, by label."""
        labels = batch.labels[batch.is_media]
        now = lm.norm(trace.hidden[BINDING_LAYER - 1][batch.is_media])
        later = lm.norm(trace.hidden[ORDER_LAYER - 1][batch.is_media])
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


def evidence_loss(trace: Trace, batch: Batch) -> Tensor:
    """Mean of -log(attention mass on the evidence), over answer tokens and heads.

    All heads: one that looks elsewhere brings along what it finds there, and the answer becomes a guess among events.
    """
    losses = []
    queries, keys = trace.queries[EVIDENCE_LAYER], trace.keys[EVIDENCE_LAYER]
    stem = queries.shape[2] - batch.mask.shape[2]
    for b, (rows, evidence) in enumerate(zip(batch.evidence_rows, batch.evidence, strict=True)):
        if len(rows):
            q = queries[b][:, rows]
            k = keys[b].repeat_interleave(len(q) // len(keys[b]), 0)
            scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + batch.mask[b, :, rows - stem]
            mass = scores.masked_fill(~evidence, float("-inf")).logsumexp(-1) - scores.logsumexp(-1)
            losses.append(-mass.mean(0))
    return torch.cat(losses).mean()


def name_loss(trace: Trace, batch: Batch) -> Tensor:
    """Mean of -log(attention on a name in the question), over answer tokens and names, of the head that looks best.

    Before an answer token can look for what the question names, it must know the names.
    """
    losses = []
    queries, keys = trace.queries[NAME_LAYER], trace.keys[NAME_LAYER]
    stem = queries.shape[2] - batch.mask.shape[2]
    for b, pairs in enumerate(batch.names):
        if len(pairs):
            rows, columns = pairs.unbind(1)
            q = queries[b][:, rows]
            k = keys[b].repeat_interleave(len(q) // len(keys[b]), 0)
            scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + batch.mask[b, :, rows - stem]
            mass = scores.log_softmax(-1)[:, torch.arange(len(rows)), columns]
            share = torch.softmax(HEAD_SHARPNESS * mass.detach(), 0)
            losses.append(-(share * mass).sum(0))
    return torch.cat(losses).mean() if losses else queries.new_zeros(())


def answer_loss(lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of the answer tokens, and whether each of them is the most likely one."""
    sample, row, token = batch.answers[:, 0], batch.answers[:, 1], batch.answers[:, 2]
    logits = trace.final[sample, row] @ lm.embed_tokens.weight.T
    losses = F.cross_entropy(logits, token, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum(), logits.argmax(-1) == token
