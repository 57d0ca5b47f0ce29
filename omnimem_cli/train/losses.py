"""What nano's text model is taught in addition to the answers: what each moment means, and where each name is found.

Binding: after an early layer every media token should say the slide and word of its moment, read out with the token
embeddings themselves, and every name in a text should say itself; one layer on, what came before (read out with the
same embeddings, after one map), what time it is and whether slide or word are new; one layer later, how many there
were so far, and then how that number is written. Lookups (`lookup_targets`): in that layer every name attends to
where it is in the video. Findings: after it the name knows what it found. Reads (`read_targets`): one layer later an
answer attends to the name it is about, with the heads that found what is asked, and in the last layer to a count. How
moments count is taught in `count_targets`. All of it only teaches; nothing of it is left in the checkpoint.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer

from omnimem_cli.train.architecture import BINDING_LAYER, HIDDEN, LOOKUP_LAYER, ORDER_LAYER, READ_LAYER
from omnimem_cli.train.decoder import Trace, scores
from omnimem_cli.train.nano_tokenizer import one_token
from omnimem_cli.train.packing import Batch, Targets
from omnimem_cli.train.targets.lookup_targets import FINDINGS, HEADS
from omnimem_cli.train.targets.moment_labels import BEFORE, CLOCK, COUNTED, COUNTS, FIGURES, FIGURES_OF_COUNTS, LABELS
from omnimem_cli.train.tower_stage import IGNORE
from omnimem_cli.world.slides import COLOURS, DIGITS, SHAPES, TITLES
from omnimem_cli.world.words import WORDS

NAMES = {"colour": 0, "shape": 1, "digit": 2, "title": 3, "word": 4}
"""Which group of name ids a label is read out with."""
NOTHING_WEIGHT = 0.2  # most moments are silent, and what is said matters more than that nothing is
NUMBER_WEIGHT = 2.0  # a number is right only when all of its figures are


def name_ids(tokenizer: Qwen2Tokenizer) -> list[Tensor]:
    """Token ids of the names of colours, shapes, digits, titles and words, each group led by " nothing"."""
    spaced = lambda names: [f" {name}" for name in names]  # noqa: E731
    groups = [spaced(COLOURS), spaced(SHAPES), list(DIGITS), spaced(TITLES), spaced(WORDS)]
    return [torch.tensor([one_token(tokenizer, text) for text in (" nothing", *group)]) for group in groups]


NUMBERS = (*CLOCK, *COUNTS, *FIGURES)
KNOWN_AFTER = {
    **dict.fromkeys(NAMES, BINDING_LAYER - 1),
    **dict.fromkeys((*BEFORE, *CLOCK, "slide_begins", "word_begins"), ORDER_LAYER - 1),
    **dict.fromkeys(COUNTS, LOOKUP_LAYER),
    **dict.fromkeys(FIGURES_OF_COUNTS, READ_LAYER),
}
"""After which layer a media token, or a name, should know a label. The figures of a second are only found."""


class Readout(nn.Module):
    """Reads labels out of hidden states, names with the token embeddings, and tells how well.

    labels: which. Their classes are those of a name ("colour", "colour_before": the same names), of a place of the
    clock, of a figure, of yes and no, or a number, which is read as the count of thresholds that it passes.
    """

    def __init__(self, tokenizer: Qwen2Tokenizer, labels: Iterable[str]):
        super().__init__()
        self.names = name_ids(tokenizer)
        self.heads = nn.ModuleDict({label: nn.Linear(HIDDEN, _classes(label)) for label in labels if not _group(label)})

    def logits(self, label: str, x: Tensor, lm: nn.Module) -> Tensor:
        """[n, hidden] -> [n, classes]."""
        group = _group(label)
        return x @ lm.embed_tokens.weight[self.names[NAMES[group]]].T if group else self.heads[label](x)

    def loss(self, label: str, x: Tensor, classes: Tensor, lm: nn.Module) -> tuple[Tensor, Tensor]:
        """The loss, and the share of right classes among those that are known. classes: class numbers [n]."""
        values = self.logits(label, x, lm)
        if label in COUNTS:
            passed = classes[:, None] > torch.arange(COUNTED)
            loss = F.binary_cross_entropy_with_logits(values, passed.float(), reduction="none").sum(-1).mean()
            return loss, ((values > 0).sum(-1) == classes).float().mean()
        weights = torch.ones(values.shape[1])
        weights[0] = NOTHING_WEIGHT if _group(label) else 1.0
        something = classes > 0 if _group(label) else classes >= 0
        return F.cross_entropy(values, classes, weights), (values.argmax(-1) == classes)[something].float().mean()

    def mean_loss(
        self, classes: Iterable[tuple[str, str, Tensor, Tensor]], lm: nn.Module
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted mean loss and the shares of right ones by name.

        classes: (name, label, states [n, hidden], class numbers [n], IGNORE where nothing is to be known).
        """
        losses, weights, right = [], [], {}
        for name, label, x, values in classes:
            known = values != IGNORE
            if known.any():
                loss, right[name] = self.loss(label, x[known], values[known], lm)
                weights.append(_weight(label))
                losses.append(weights[-1] * loss)
        return torch.stack(losses).sum() / sum(weights), right


def _group(label: str) -> str | None:
    """The kind of name a label is, None for what is no name."""
    name = label.removesuffix("_before")
    return name if name in NAMES else None


def _weight(label: str) -> float:
    return NUMBER_WEIGHT if label in NUMBERS else 1.0


def _classes(label: str) -> int:
    if label in COUNTS:
        return COUNTED
    return 11 if label in FIGURES else 10 if label in CLOCK else 2


class Binding(nn.Module):
    """The binding losses. The map to what came before and the heads that count are parameters of this module."""

    def __init__(self, tokenizer: Qwen2Tokenizer):
        super().__init__()
        self.readout = Readout(tokenizer, KNOWN_AFTER)
        self.before = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted mean loss over the labels and the share of tokens that are right, by label."""
        any_known = (batch.labels != IGNORE).any(-1)
        labels = batch.labels[any_known]
        states = {layer: lm.norm(trace.hidden[layer][any_known]) for layer in set(KNOWN_AFTER.values())}
        before = self.before(states[ORDER_LAYER - 1])
        classes = [
            (label, label, before if label in BEFORE else states[layer], labels[:, LABELS.index(label)])
            for label, layer in KNOWN_AFTER.items()
        ]
        return self.readout.mean_loss(classes, lm)


class Found(nn.Module):
    """The losses on findings: what each head found is read out of a name's state, names after a map of the head's."""

    def __init__(self, tokenizer: Qwen2Tokenizer):
        super().__init__()
        self.readout = Readout(tokenizer, [label for _, label in FINDINGS])
        self.maps = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(HEADS))

    def forward(self, lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted mean loss over the findings and the share that is right, by what was found."""
        states = [trace.hidden[LOOKUP_LAYER][b][rows] for b, rows in enumerate(batch.lookups.rows)]
        state, findings = lm.norm(torch.cat(states)), torch.cat(batch.findings)
        mapped = [to(state) for to in self.maps]
        classes = [
            (f"found_{label}_{head}", label, mapped[head], values)
            for (head, label), values in zip(FINDINGS, findings.unbind(1), strict=True)
        ]
        return self.readout.mean_loss(classes, lm)


def attention_loss(trace: Trace, batch: Batch, targets: Targets, layer: int) -> Tensor:
    """Mean of -log(a layer's attention mass where it should lie), over rows and heads of which that is known."""
    losses = []
    for b, (rows, where) in enumerate(zip(targets.rows, targets.where, strict=True)):
        if len(rows):
            stem = trace.queries[layer].shape[2] - batch.mask.shape[2]
            masked = scores(trace, layer, b, rows) + batch.mask[b, :, rows - stem]
            mass = masked.masked_fill(~where, float("-inf")).logsumexp(-1) - masked.logsumexp(-1)
            losses.append(-mass[where.any(-1)])
    return torch.cat(losses).mean() if losses else trace.final.new_zeros(())


def answer_loss(lm: nn.Module, trace: Trace, batch: Batch) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of the answer tokens, and whether each of them is the most likely one."""
    sample, row, token = batch.answers[:, 0], batch.answers[:, 1], batch.answers[:, 2]
    logits = trace.final[sample, row] @ lm.embed_tokens.weight.T
    losses = F.cross_entropy(logits, token, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum(), logits.argmax(-1) == token
