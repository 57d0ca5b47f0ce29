"""Packs a video and many questions about it into one sequence for one forward pass.

Every question sees the prefix, the part of the video that its view shows, and itself; it starts at the position it
would have alone. One packed pass equals separate passes (tests/train/test_decoder.py).
"""

import functools
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.train.nano_tokenizer import TURN_END
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.targets.lookup_targets import FINDINGS, HEADS, Lookup, Name, Names, look_up
from omnimem_cli.train.targets.moment_labels import LABELS, moment_labels
from omnimem_cli.train.targets.read_targets import (
    COUNT_LABELS,
    count_heads,
    end_leads,
    heads_asked,
    known_or_first,
    name_or_first,
)
from omnimem_cli.train.token_order import CLOSING, OPENING, Layout, layout
from omnimem_cli.train.tower_stage import IGNORE
from omnimem_cli.world.questions import LISTS, NOWHERE, Question


@dataclass(frozen=True)
class Task:
    """A question, the second after which it is asked (even), and which visible media tokens it is denied."""

    question: Question
    asked_s: int
    denied: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """A video in a mode ("av", "v", "a") with its tasks.

    jumps: (second, positions): from that second on the clock is ahead by so many positions, as if a long stretch
    had been there of which nothing is left in memory.
    """

    encoded: Encoded
    mode: str
    tasks: list[Task]
    jumps: tuple[tuple[float, int], ...] = ()

    def ahead(self, seconds: np.ndarray) -> np.ndarray:
        """By how many positions the clock is ahead at each of `seconds`."""
        return sum((np.where(seconds >= at, by, 0) for at, by in self.jumps), np.zeros(np.shape(seconds), int))


@dataclass(frozen=True)
class Targets:
    """Where some rows should look, per sample: rows [e]; bool [heads, e, s], a row without any is not known."""

    rows: list[Tensor]
    where: list[Tensor]


@dataclass(frozen=True)
class Batch:
    """Padded samples. Lengths: b samples, s tokens, a answer tokens, e lookups."""

    ids: Tensor  # [b, s], 0 at media tokens
    media: Tensor  # [b, s, hidden], 0 at text tokens
    is_media: Tensor  # [b, s]
    positions: Tensor  # [3, b, s]
    mask: Tensor  # additive [b, 1, q, s], for the last q tokens: those of the questions
    labels: Tensor  # [b, s, labels], IGNORE where nothing is to be known
    answers: Tensor  # [a, 5]: sample, row, token id, task number in the batch, 1 for the task's last token
    weights: Tensor  # [a]
    lookups: Targets  # of names, and of answer tokens that no name leads to
    findings: list[Tensor]  # per sample [e, findings]: what a row of the lookups should know, IGNORE where nothing
    reads: Targets  # of answer tokens
    counts: Targets  # of a count's figures
    tasks: list[Task]

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.ids.numel()


def visible(task: Task, plan: Layout) -> np.ndarray:
    """Which media tokens a task may look at: bool [tokens]."""
    view = task.question.view
    seen = (plan.start_s >= view.start_s) & (plan.start_s < view.end_s)
    return seen if task.denied is None else seen & ~task.denied


def holds_evidence(task: Task, part: int, plan: Layout) -> np.ndarray:
    """Which media tokens tell a part of a task's answer: bool [tokens]; none for `NOWHERE`."""
    middle = plan.middle_s
    found = np.zeros(len(middle), bool)
    for evidence in task.question.parts[part].evidence:
        inside = (middle >= evidence.start_s) & (middle < evidence.end_s)
        found |= inside & plan.is_sound if evidence.kind == "word" else inside
    return found & visible(task, plan)


class Packer:
    """Packs samples with a tokenizer."""

    def __init__(self, tokenizer: Qwen2Tokenizer, hidden: int):
        self.tokenizer = tokenizer
        self.hidden = hidden
        self.turn_end = tokenizer.convert_tokens_to_ids(TURN_END)
        self.names = Names(tokenizer)
        self.encode = functools.lru_cache(100_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def pack(self, samples: list[Sample]) -> Batch:
        """One batch of `samples`, padded to the longest."""
        stem = max(self._stem(sample) for sample in samples)
        packed = [self._pack_one(sample, stem) for sample in samples]
        length = max(len(p.ids) for p in packed)
        answers, first_task = [], 0
        for b, (p, sample) in enumerate(zip(packed, samples, strict=True)):
            answers += [(b, row, token, first_task + task, last) for row, token, task, last in p.answers]
            first_task += len(sample.tasks)
        media = [self._media(p, sample.encoded) for p, sample in zip(packed, samples, strict=True)]
        mask = np.stack([_pad_mask(p.allowed(stem), length - stem, length) for p in packed])[:, None]
        return Batch(
            ids=_stack([np.array(p.ids) for p in packed], length, 0),
            media=_stack(media, length, 0),
            is_media=_stack([p.is_media() for p in packed], length, False),
            positions=_stack([np.concatenate(p.positions, 1).T for p in packed], length, 0).permute(2, 0, 1),
            mask=torch.zeros(mask.shape).masked_fill_(~torch.from_numpy(mask), float("-inf")),
            labels=_stack([p.labels() for p in packed], length, IGNORE),
            answers=torch.tensor(answers),
            weights=torch.tensor([weight for p in packed for weight in p.weights]),
            lookups=_targets([p.lookups for p in packed], length),
            findings=[torch.tensor(p.findings, dtype=torch.long).view(-1, len(FINDINGS)) for p in packed],
            reads=_targets([p.reads for p in packed], length),
            counts=_targets([p.counts for p in packed], length),
            tasks=[task for sample in samples for task in sample.tasks],
        )

    def _stem(self, sample: Sample) -> int:
        """How many tokens prefix and media are."""
        prefix = self.encode(SYSTEM + USER) + self.encode(OPENING[sample.mode])
        return len(prefix) + len(layout(round(sample.encoded.video.duration_s), sample.mode).index)

    def _pack_one(self, sample: Sample, stem: int) -> "_Packed":
        """One sample, its prefix and media padded to `stem` tokens."""
        plan = layout(round(sample.encoded.video.duration_s), sample.mode)
        prefix = self.encode(SYSTEM + USER) + self.encode(OPENING[sample.mode])
        at = np.arange(len(prefix))
        if sample.mode == "av":
            at[-1] -= 1
        moved = plan.positions + sample.ahead(plan.start_s) * _is_time(plan)
        waste = np.zeros((3, stem - len(prefix) - len(plan.index)), int)
        packed = _Packed(
            plan=plan,
            media_at=len(prefix),
            media_position=int(at[-1]) + 1,
            moments=moment_labels(sample.encoded.video, plan, moved[0]),
            ids=[*prefix, *[0] * (stem - len(prefix))],
            positions=[np.tile(at, (3, 1)), moved + int(at[-1]) + 1, waste],
        )
        for number, task in enumerate(sample.tasks):
            self._add(packed, number, task, sample)
        return packed

    def _add(self, packed: "_Packed", number: int, task: Task, sample: Sample) -> None:
        """Append a question with its answer, and what is taught about them."""
        begin, seen = len(packed.ids), visible(task, packed.plan)
        text, count = self._task_ids(task, sample.mode)
        packed.ids += text
        at = self._task_positions(len(text), packed.plan, task, sample) + packed.media_position
        packed.positions.append(np.tile(at, (3, 1)))
        packed.spans.append((begin, len(packed.ids), seen))
        rows = range(len(packed.ids) - count - 1, len(packed.ids) - 1)
        packed.answers += [(row, packed.ids[row + 1], number, int(row == rows[-1])) for row in rows]
        packed.weights += [1 / count**0.5] * count
        names = [replace(name, column=begin + name.column) for name in self.names.find(text)]
        packed.names += names
        parts = self._part_rows(task, rows[0])
        lookups = [(name.column, look_up(name, packed.moments, seen)) for name in names]
        lookups += self._unnamed(task, packed.plan, parts)
        packed.lookups += [(row, lookup.columns(packed.media_at)) for row, lookup in lookups]
        packed.findings += [lookup.findings.tolist() for _, lookup in lookups]
        packed.reads += self._reads(task, parts, [name.column for name in names])
        packed.counts += self._counts(task, packed, rows)

    def _task_ids(self, task: Task, mode: str) -> tuple[list[int], int]:
        """The ids of a whole question with its answer, and how many of them are the answer (with its end)."""
        answer = (*self.encode(task.question.answer), self.turn_end)
        question = self.encode(CLOSING[mode]) + self.encode(task.question.text) + self.encode(ANSWER)
        return [*question, *answer], len(answer)

    def _task_positions(self, length: int, plan: Layout, task: Task, sample: Sample) -> np.ndarray:
        start = plan.closing_position(task.asked_s) + int(sample.ahead(np.array(task.asked_s)))
        at = np.arange(length) + start
        return np.maximum(at - 1, start) if sample.mode == "av" else at

    def _part_rows(self, task: Task, first: int) -> list[range]:
        """The rows that predict each part of the answer, then the one that predicts its end."""
        counts = [*(len(self.encode(part.text)) for part in task.question.parts), 1]
        stops = first + np.cumsum(counts)
        return [range(stop - count, stop) for stop, count in zip(stops.tolist(), counts, strict=True)]

    def _unnamed(self, task: Task, plan: Layout, part_rows: list[range]) -> list[tuple[int, Lookup]]:
        """Lookups of answer tokens that no name leads to ("first", "last"): what tells them, by all heads.

        Nothing tells `NOWHERE`; of evidence that is denied nothing is known. How to count is left to the model.
        """
        if task.question.names or task.question.kind in COUNT_LABELS:
            return []
        lookups = []
        for number, part in enumerate(task.question.parts):
            if part.leads is None:
                found = holds_evidence(task, number, plan)
                known = np.full(HEADS, found.any() or NOWHERE in part.evidence)
                lookup = Lookup(np.tile(found, (HEADS, 1)), known, np.full(len(FINDINGS), IGNORE))
                lookups += [(row, lookup) for row in part_rows[number]]
        return lookups

    def _reads(self, task: Task, part_rows: list[range], named: list[int]) -> list[tuple[int, np.ndarray]]:
        """Where answer tokens that are about a name read: that of the part that leads there, else the question's."""
        kind, parts = task.question.kind, task.question.parts
        asked = [column for column in named if column <= part_rows[0].start]
        reads = []
        for number, part in enumerate(parts):
            if part.leads is not None or task.question.names:
                column = asked[-1] if part.leads is None else part_rows[part.leads].stop
                where = name_or_first(column, heads_asked(kind, parts, number))
                reads += [(row, where) for row in part_rows[number]]
        if kind in LISTS and len(named) > len(asked):
            column = part_rows[end_leads(kind, parts)].stop
            reads.append((part_rows[-1].start, name_or_first(column, heads_asked(kind, parts, len(parts)))))
        return reads

    def _counts(self, task: Task, packed: "_Packed", rows_now: range) -> list[tuple[int, np.ndarray]]:
        """Where the figures of a count are read: by one head, at all moments that have as much behind them."""
        kind = task.question.kind
        if kind not in COUNT_LABELS:
            return []
        known = packed.moments[:, LABELS.index(COUNT_LABELS[kind])] == int(task.question.answer)
        known &= visible(task, packed.plan)
        if not known.any():
            return []
        columns = np.pad(known, (packed.media_at, 0))
        return [(row, known_or_first(columns, count_heads(kind, n))) for n, row in enumerate(rows_now)]

    def _media(self, packed: "_Packed", encoded: Encoded) -> np.ndarray:
        plan, flat = packed.plan, np.zeros((len(packed.ids), self.hidden), np.float32)
        visual, sound = encoded.visual.flatten(0, 1).numpy(), encoded.sound.flatten(0, 1).numpy()
        block = flat[packed.media_at : packed.media_at + len(plan.index)]
        block[~plan.is_sound] = visual[plan.index[~plan.is_sound]]
        block[plan.is_sound] = sound[plan.index[plan.is_sound]]
        return flat


@dataclass
class _Packed:
    """One sample's tokens while its questions are appended. Columns and rows count from the sample's first token."""

    plan: Layout
    media_at: int  # column
    media_position: int
    moments: np.ndarray  # [media tokens, labels]
    ids: list[int]
    positions: list[np.ndarray]  # [3, n] each
    spans: list[tuple[int, int, np.ndarray]] = field(default_factory=list)  # of a question: begin, end, what it sees
    answers: list[tuple[int, int, int, int]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    lookups: list[tuple[int, np.ndarray]] = field(default_factory=list)  # row, bool [heads, columns from the first]
    findings: list[list[int]] = field(default_factory=list)  # of each lookup
    reads: list[tuple[int, np.ndarray]] = field(default_factory=list)  # like lookups
    counts: list[tuple[int, np.ndarray]] = field(default_factory=list)  # like lookups

    def is_media(self) -> np.ndarray:
        """bool [tokens]."""
        at = np.arange(len(self.ids)) - self.media_at
        return (at >= 0) & (at < len(self.plan.index))

    def allowed(self, stem: int) -> np.ndarray:
        """bool [tokens - stem, tokens]: who among the questions' tokens may look at whom."""
        allowed = np.zeros((len(self.ids) - stem, len(self.ids)), bool)
        allowed[:, : self.media_at] = True
        for begin, end, seen in self.spans:
            rows = slice(begin - stem, end - stem)
            allowed[rows, self.media_at : self.media_at + len(seen)] = seen
            allowed[rows, begin:end] = np.tri(end - begin, dtype=bool)
        return allowed

    def labels(self) -> np.ndarray:
        """[tokens, labels]: of the moments, and of the names in the texts."""
        labels = np.full((len(self.ids), len(LABELS)), IGNORE)
        labels[self.media_at : self.media_at + len(self.moments)] = self.moments
        for name in self.names:
            labels[name.column] = name.labels(len(LABELS))
        return labels


def _is_time(plan: Layout) -> np.ndarray:
    """Which of the media's positions move with the clock: the temporal ones, and all of a sound token's."""
    return np.stack([np.ones(len(plan.index), int), plan.is_sound, plan.is_sound])


def _stack(arrays: list[np.ndarray], length: int, fill: float) -> Tensor:
    """Arrays [n, ...] padded at their ends to [arrays, length, ...]."""
    pads = [[(0, length - len(array))] + [(0, 0)] * (array.ndim - 1) for array in arrays]
    return torch.from_numpy(np.stack([np.pad(a, p, constant_values=fill) for a, p in zip(arrays, pads, strict=True)]))


def _targets(samples: list[list[tuple[int, np.ndarray]]], length: int) -> Targets:
    """Rows and where they should look, bool [heads, columns], of every sample."""
    rows = [torch.tensor([row for row, _ in looks], dtype=torch.long) for looks in samples]
    where = [np.zeros((HEADS, len(looks), length), bool) for looks in samples]
    for matrix, looks in zip(where, samples, strict=True):
        for number, (_, columns) in enumerate(looks):
            matrix[:, number, : columns.shape[1]] = columns
    return Targets(rows, [torch.from_numpy(matrix) for matrix in where])


def _pad_mask(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    padded = np.pad(values, ((0, rows - len(values)), (0, columns - values.shape[1])))
    padded[len(values) :, 0] = True
    return padded
