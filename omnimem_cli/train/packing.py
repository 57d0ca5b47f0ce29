"""Packs a video and many questions about it into one sequence for one forward pass.

Every question sees the prefix, the part of the video that its view shows, and itself; it starts at the position it
would have alone. One packed pass equals separate passes (tests/test_nano_decoder.py).
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from omnimem_cli.train.encoders import IGNORE, slide_labels
from omnimem_cli.train.layout import ANSWER, CLOSING, OPENING, PER_SECOND, SYSTEM, Layout, layout
from omnimem_cli.train.lookups import HEADS, Name, Names, look_up
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.tokenizer import TURN_END
from omnimem_cli.world.questions import LISTS, NOWHERE, WORD_ECHO_S, Question
from omnimem_cli.world.video import Video
from omnimem_cli.world.words import WORDS

LABELS = (
    *("colour", "shape", "digit", "word", "colour_before", "shape_before", "word_before"),
    *("slides_so_far", "words_so_far", "tens_of_seconds", "ones_of_seconds", "begins"),
)
COUNTED, CLOCK_S, BEGINNING_S = 40, 100, 1.0


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
class Batch:
    """Padded samples. Lengths: b samples, s tokens, a answer tokens, e answer tokens with evidence."""

    ids: Tensor  # [b, s], 0 at media tokens
    media: Tensor  # [b, s, hidden], 0 at text tokens
    is_media: Tensor  # [b, s]
    positions: Tensor  # [3, b, s]
    mask: Tensor  # additive [b, 1, q, s], for the last q tokens: those of the questions
    labels: Tensor  # [b, s, 12], IGNORE where nothing is to be known
    answers: Tensor  # [a, 5]: sample, row, token id, task number in the batch, 1 for the task's last token
    weights: Tensor  # [a]
    lookup_rows: list[Tensor]  # per sample [e]
    lookups: list[Tensor]  # per sample [heads, e, s] bool: where a row should look; a row without any is not known
    reads: list[Tensor]  # per sample [k, 2]: an answer token's row, the column of the name it is about
    tasks: list[Task]

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.ids.numel()


def moment_labels(video: Video, plan: Layout, time: np.ndarray) -> np.ndarray:
    """What a media token should know once it has been read: [tokens, 12] class numbers, 0 for nothing.

    time: the tokens' temporal positions.
    """
    middle = plan.start_s + np.where(plan.is_sound, 0.05, 0.5)
    labels = np.zeros((len(middle), len(LABELS)), int)
    before, last_word = (0, 0, 0), 0
    for event in video.events:
        now = slide_labels(event.slide)
        labels[(middle >= event.start_s) & (middle < event.end_s), :3] = now
        labels[(middle >= event.start_s) & (middle < event.end_s), 4:6] = before[:2]
        labels[middle >= event.start_s, 7] += 1
        labels[(middle >= event.start_s) & (middle < min(event.start_s + BEGINNING_S, event.end_s)), 11] = 1
        before = now
        if event.word:
            word = WORDS.index(event.word) + 1
            end_s = max(event.word_end_s, min(event.word_end_s + WORD_ECHO_S, event.end_s))
            labels[(middle >= event.word_start_s) & (middle < end_s), 3] = word
            labels[(middle >= event.word_start_s) & (middle < end_s), 6] = last_word
            labels[(middle >= event.word_start_s) & (middle < event.word_start_s + 0.2), 3] = IGNORE
            labels[middle >= event.word_start_s + 0.2, 8] += 1
            last_word = word
    labels[labels[:, 0] == 0, 4:6] = IGNORE
    labels[labels[:, 3] <= 0, 6] = IGNORE
    labels[~plan.is_sound, 3] = labels[~plan.is_sound, 6] = labels[~plan.is_sound, 8] = IGNORE
    if plan.mode == "a":
        labels[:, [0, 1, 2, 4, 5, 7, 11]] = IGNORE
    labels[:, 7:9] = np.minimum(labels[:, 7:9], COUNTED - 1)
    second = time // PER_SECOND
    clock = np.stack([second // 10, second % 10], 1)
    labels[:, 9:11] = np.where((second < CLOCK_S)[:, None], clock, IGNORE)
    return labels


def visible(task: Task, plan: Layout) -> np.ndarray:
    """Which media tokens a task may look at: bool [tokens]."""
    view = task.question.view
    seen = (plan.start_s >= view.start_s) & (plan.start_s < view.end_s)
    return seen if task.denied is None else seen & ~task.denied


def holds_evidence(task: Task, part: int, plan: Layout) -> np.ndarray:
    """Which media tokens tell a part of a task's answer: bool [tokens]; none for `NOWHERE`."""
    middle = plan.start_s + np.where(plan.is_sound, 0.05, 0.5)
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
        length = max(len(p["ids"]) for p in packed)
        stack = lambda name, fill: np.stack([_pad(p[name], length, fill) for p in packed])  # noqa: E731
        answers, weights, first_task = [], [], 0
        for b, p in enumerate(packed):
            answers += [(b, row, token, first_task + task, last) for row, token, task, last in p["answers"]]
            weights += p["weights"]
            first_task += len(samples[b].tasks)
        mask = np.stack([_pad_mask(p["allowed"], length - stem, length) for p in packed])[:, None]
        return Batch(
            ids=torch.from_numpy(stack("ids", 0)),
            media=torch.from_numpy(stack("media", 0)),
            is_media=torch.from_numpy(stack("is_media", False)),
            positions=torch.from_numpy(stack("positions", 0)).permute(2, 0, 1),
            mask=torch.zeros(mask.shape).masked_fill_(~torch.from_numpy(mask), float("-inf")),
            labels=torch.from_numpy(stack("labels", IGNORE)),
            answers=torch.tensor(answers),
            weights=torch.tensor(weights),
            lookup_rows=[torch.tensor(p["lookup_rows"], dtype=torch.long) for p in packed],
            lookups=[torch.from_numpy(_pad_columns(p["lookups"], length)) for p in packed],
            reads=[torch.tensor(p["reads"], dtype=torch.long).view(-1, 2) for p in packed],
            tasks=[task for sample in samples for task in sample.tasks],
        )

    def _stem(self, sample: Sample) -> int:
        """How many tokens prefix and media are."""
        prefix = self.encode(SYSTEM) + self.encode(OPENING[sample.mode])
        return len(prefix) + len(layout(round(sample.encoded.video.duration_s), sample.mode).index)

    def _pack_one(self, sample: Sample, stem: int) -> dict:
        """Arrays of one sample, its prefix and media padded to `stem` tokens."""
        plan = layout(round(sample.encoded.video.duration_s), sample.mode)
        media_positions = plan.positions + sample.ahead(plan.start_s) * _is_time(plan)
        labels = moment_labels(sample.encoded.video, plan, media_positions[0])
        prefix = self.encode(SYSTEM) + self.encode(OPENING[sample.mode])
        at = np.arange(len(prefix))
        if sample.mode == "av":
            at[-1] -= 1
        first, media_at = int(at[-1]) + 1, len(prefix)
        tokens = len(plan.index)
        ids = [*prefix, *[0] * (stem - len(prefix))]
        positions = [np.tile(at, (3, 1)), media_positions + first, np.zeros((3, stem - media_at - tokens), int)]
        answers, weights, lookups, spans, reads, named = [], [], [], [], [], []
        for number, task in enumerate(sample.tasks):
            begin = len(ids)
            text, count = self._task_ids(task, sample.mode)
            ids += text
            positions.append(np.tile(self._task_positions(len(text), plan, task, sample) + first, (3, 1)))
            spans.append((begin, len(ids), visible(task, plan)))
            rows_now = range(len(ids) - count - 1, len(ids) - 1)
            answers += [(row, ids[row + 1], number, int(row == rows_now[-1])) for row in rows_now]
            weights += [1 / count**0.5] * count
            found = [replace(name, column=begin + name.column) for name in self.names.find(text)]
            named += found
            lookups += [(name.column, *look_up(name, labels, visible(task, plan))) for name in found]
            lookups += self._unnamed(task, plan, rows_now)
            reads += self._reads(task, rows_now, [name.column for name in found])
        return {
            "ids": np.array(ids),
            "media": self._media(sample.encoded, plan, media_at, len(ids)),
            "is_media": (np.arange(len(ids)) >= media_at) & (np.arange(len(ids)) < media_at + tokens),
            "positions": np.concatenate(positions, 1).T,
            "allowed": _allowed(len(ids), stem, media_at, spans),
            "labels": _named(_around(labels, media_at, len(ids), IGNORE), named),
            "answers": answers,
            "weights": weights,
            "lookup_rows": [row for row, _, _ in lookups],
            "lookups": _lookup_matrix(lookups, media_at, len(ids)),
            "reads": reads,
        }

    def _task_ids(self, task: Task, mode: str) -> tuple[list[int], int]:
        """The ids of a whole question with its answer, and how many of them are the answer (with its end)."""
        answer = (*self.encode(task.question.answer), self.turn_end)
        question = self.encode(CLOSING[mode]) + self.encode(task.question.text) + self.encode(ANSWER)
        return [*question, *answer], len(answer)

    def _task_positions(self, length: int, plan: Layout, task: Task, sample: Sample) -> np.ndarray:
        start = plan.closing_position(task.asked_s) + int(sample.ahead(np.array(task.asked_s)))
        at = np.arange(length) + start
        return np.maximum(at - 1, start) if sample.mode == "av" else at

    def _unnamed(self, task: Task, plan: Layout, rows_now: range) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Lookups of answer tokens that no name leads to ("first", "how many"): what tells them, by all heads.

        Nothing tells `NOWHERE`; of evidence that is denied nothing is known.
        """
        lookups, row = [], rows_now[0]
        for number, part in enumerate(task.question.parts):
            count = len(self.encode(part.text))
            if part.leads is None and not task.question.names:
                found = holds_evidence(task, number, plan)
                known = np.full(HEADS, found.any() or NOWHERE in part.evidence)
                lookups += [(row + i, np.tile(found, (HEADS, 1)), known) for i in range(count)]
            row += count
        return lookups

    def _reads(self, task: Task, rows_now: range, named: list[int]) -> list[tuple[int, int]]:
        """(row, column of the name it is about): that of the part that leads to the row's part, else the question's.

        How a list ends is read at its last name.
        """
        counts = [len(self.encode(part.text)) for part in task.question.parts]
        starts = [rows_now[0] + sum(counts[:number]) for number in range(len(counts))]
        asked = [column for column in named if column <= rows_now[0]]
        pairs = []
        for number, part in enumerate(task.question.parts):
            if part.leads is not None or task.question.names:
                column = asked[-1] if part.leads is None else starts[part.leads] + counts[part.leads]
                pairs += [(starts[number] + i, column) for i in range(counts[number])]
        if task.question.kind in LISTS and named:
            pairs.append((rows_now[-1], named[-1]))
        return pairs

    def _media(self, encoded: Encoded, plan: Layout, media_at: int, length: int) -> np.ndarray:
        flat = np.zeros((length, self.hidden), np.float32)
        visual, sound = encoded.visual.flatten(0, 1).numpy(), encoded.sound.flatten(0, 1).numpy()
        block = flat[media_at : media_at + len(plan.index)]
        block[~plan.is_sound] = visual[plan.index[~plan.is_sound]]
        block[plan.is_sound] = sound[plan.index[plan.is_sound]]
        return flat


def _allowed(length: int, stem: int, media_at: int, spans: list[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """bool [length - stem, length]: who among the questions' tokens may look at whom."""
    allowed = np.zeros((length - stem, length), bool)
    allowed[:, :media_at] = True
    for begin, end, seen in spans:
        allowed[begin - stem : end - stem, media_at : media_at + len(seen)] = seen
        allowed[begin - stem : end - stem, begin:end] = np.tri(end - begin, dtype=bool)
    return allowed


def _around(values: np.ndarray, at: int, length: int, fill: int) -> np.ndarray:
    whole = np.full((length, *values.shape[1:]), fill)
    whole[at : at + len(values)] = values
    return whole


def _named(labels: np.ndarray, names: list[Name]) -> np.ndarray:
    """`labels` with those of the names in the texts."""
    for name in names:
        labels[name.column] = name.labels(labels.shape[1])
    return labels


def _lookup_matrix(lookups: list[tuple[int, np.ndarray, np.ndarray]], media_at: int, length: int) -> np.ndarray:
    """bool [heads, lookups, length]: where each head should look, the first token where nothing is found."""
    matrix = np.zeros((HEADS, len(lookups), length), bool)
    for number, (_, found, known) in enumerate(lookups):
        matrix[:, number, media_at : media_at + found.shape[1]] = found & known[:, None]
        matrix[:, number, 0] = known & ~found.any(1)
    return matrix


def _is_time(plan: Layout) -> np.ndarray:
    """Which of the media's positions move with the clock: the temporal ones, and all of a sound token's."""
    return np.stack([np.ones(len(plan.index), int), plan.is_sound, plan.is_sound])


def _pad(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1), constant_values=fill)


def _pad_columns(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])])


def _pad_mask(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    padded = np.pad(values, ((0, rows - len(values)), (0, columns - values.shape[1])))
    padded[len(values) :, 0] = True
    return padded
