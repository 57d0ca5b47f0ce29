"""Stage 2 of nano's training: the text model, on questions about whole videos, over frozen towers."""

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen2Tokenizer

from omnimem_cli.models.device import bfloat16_is_faster
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.vision import VisionTower, towers_of
from omnimem_cli.train.architecture import COUNT_LAYER, GRID, HIDDEN, LOOKUP_LAYER, READ_LAYER
from omnimem_cli.train.curriculum import Curriculum, training_sample, training_video
from omnimem_cli.train.decoder import Trace, decode
from omnimem_cli.train.losses import Binding, Found, answer_loss, attention_loss, name_ids
from omnimem_cli.train.optimiser import Optimiser
from omnimem_cli.train.packing import Batch, Packer, Sample, Task
from omnimem_cli.train.render import Encoded, encode
from omnimem_cli.train.targets.count_targets import count_loss
from omnimem_cli.train.tower_stage import IGNORE, audio_batch, vision_batch
from omnimem_cli.world.questions import KINDS, questions
from omnimem_cli.world.video import make_video

TOKENS = 4_500
REPLAY = 600
FRESH = 0.15
LOOKUP_WEIGHT, FOUND_WEIGHT, READ_WEIGHT, BINDING_WEIGHT, COUNT_WEIGHT = 1.0, 0.6, 0.3, 1.6, 0.5
MEDIA_SCALE, TEXT_SCALE, NAME_NORM = 0.3, 0.05, 0.7
DENIAL_FROM, DENIAL = 0.6, 0.6
LOG_EVERY, SAVE_EVERY, TEST_EVERY = 20, 200, 300


@torch.no_grad()
def init_embeddings(model: nn.Module, tokenizer: Qwen2Tokenizer, seed: int) -> None:
    """Give the text model a start at which media tokens can be read.

    The towers' outputs are centred and scaled; the embedding of every name (" red", "7", " apple", " nothing") is the
    direction that tells it best from the others in the towers' outputs, by ridge regression; "apple" is " apple" plus
    a direction common to all first words.
    """
    rng = np.random.default_rng(seed)
    pictures, slides = (torch.cat(x) for x in zip(*(vision_batch(rng) for _ in range(14)), strict=True))
    sounds, words = (torch.cat(x) for x in zip(*(audio_batch(rng) for _ in range(28)), strict=True))
    visual, audio = towers_of(model).visual, towers_of(model).audio_tower
    seen = _centre(VisionTower(visual)(pictures, GRID, GRID), visual.merger.mlp[2]).flatten(0, 1)
    heard = _centre(torch.stack(AudioTower(audio)(list(sounds))), audio.proj).flatten(0, 1)
    table = model.get_decoder().embed_tokens.weight
    table.normal_(0, TEXT_SCALE)
    nothing = torch.zeros(table.shape[1])
    names = name_ids(tokenizer)
    for ids, labels in zip(names, [*slides.repeat_interleave(4, 0).unbind(1), words.flatten()], strict=True):
        known = labels != IGNORE
        directions = _class_directions(seen if len(labels) == len(seen) else heard, labels, known, len(ids))
        table[ids[1:]] = NAME_NORM * directions[1:]
        nothing += NAME_NORM * directions[0] / len(names)
    table[names[0][0]] = nothing
    vocabulary, offset = tokenizer.get_vocab(), torch.zeros(table.shape[1]).normal_(0, TEXT_SCALE)
    for token, number in vocabulary.items():
        if token.startswith("Ġ") and token.removeprefix("Ġ") in vocabulary:
            table[vocabulary[token.removeprefix("Ġ")]] = table[number] + offset


def _centre(tokens: Tensor, last: nn.Linear) -> Tensor:
    """Change a tower's last layer so that its outputs have mean 0 and deviation MEDIA_SCALE; its outputs then."""
    scale = MEDIA_SCALE / (tokens - tokens.mean((0, 1))).std()
    mean = tokens.mean((0, 1))
    last.weight.mul_(scale)
    last.bias.sub_(mean).mul_(scale)
    return (tokens - mean) * scale


def _class_directions(tokens: Tensor, labels: Tensor, known: Tensor, classes: int) -> Tensor:
    """Directions of norm 1 [classes, hidden] along which tokens of a class stand out."""
    x, y = tokens[known], torch.nn.functional.one_hot(labels[known], classes).float()
    normal = x.T @ x / len(x)
    ridge = 0.01 * normal.diagonal().mean() * torch.eye(len(normal))
    return torch.nn.functional.normalize(torch.linalg.solve(normal + ridge, x.T @ (y - y.mean(0))).T)


def forward(model: nn.Module, batch: Batch) -> Trace:
    """The text model's pass over a batch."""
    lm = model.get_decoder()
    x = torch.where(batch.is_media[..., None], batch.media, lm.embed_tokens(batch.ids))
    return decode(lm, x, batch.positions, batch.mask)


class TextStage:
    """The text model's training, resumable at any step; every step draws from its own seed."""

    def __init__(self, model: nn.Module, tokenizer: Qwen2Tokenizer, steps: int, seed: int, log: Callable[[dict], None]):
        self.model, self.steps, self.seed, self.log = model, steps, seed, log
        self.lm = model.get_decoder()
        self.packer = Packer(tokenizer, HIDDEN)
        self.binding, self.found = Binding(tokenizer), Found(tokenizer)
        for tower in (towers_of(model).visual, towers_of(model).audio_tower):
            tower.requires_grad_(False)
        self.optimiser = Optimiser([self.lm, self.binding, self.found], steps, muon_lr=0.012, adam_lr=5e-4, decay=1.0)
        self.curriculum = Curriculum(steps)
        self.replay: list[Encoded] = []
        self.step, self.seconds, self.tokens = 0, 0.0, 0

    def run(self, save: Callable[["TextStage"], None]) -> None:
        """Train to the last step. `save` is called with the stage every SAVE_EVERY steps and at the end."""
        began = time.monotonic() - self.seconds
        while self.step < self.steps:
            figures = self._train_step()
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.step % LOG_EVERY == 0:
                self.log(self._report(figures))
            if self.step % TEST_EVERY == 0 or self.step == self.steps:
                self.log({"stage": "text", "step": self.step, "test": self.test()})
            if self.step % SAVE_EVERY == 0 or self.step == self.steps:
                save(self)

    def _train_step(self) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, self.step))
        batch = self.packer.pack(self._samples(rng))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_faster()):
            trace = forward(self.model, batch)
        answers, right = answer_loss(self.lm, trace, batch)
        binding, known = self.binding(self.lm, trace, batch)
        lookups = attention_loss(trace, batch, batch.lookups, LOOKUP_LAYER)
        reads = attention_loss(trace, batch, batch.reads, READ_LAYER)
        reads = reads + attention_loss(trace, batch, batch.counts, COUNT_LAYER)
        counts = count_loss(trace, batch, LOOKUP_LAYER)
        found, findings = self.found(self.lm, trace, batch)
        loss = answers + LOOKUP_WEIGHT * lookups + FOUND_WEIGHT * found
        loss = loss + READ_WEIGHT * reads + BINDING_WEIGHT * binding + COUNT_WEIGHT * counts
        self.optimiser.step(loss, self.step)
        for task, whole in zip(batch.tasks, whole_answers(batch, right), strict=True):
            self.curriculum.note(task.question.kind, whole)
        self.curriculum.advance(self.step)
        self.tokens += batch.tokens
        losses = {"answers": answers, "lookups": lookups, "found": found, "reads": reads}
        losses |= {"binding": binding, "tallies": counts}
        return losses | known | findings

    def _samples(self, rng: np.random.Generator) -> list[Sample]:
        """Videos of about the same length for about TOKENS tokens, some new and some met before, with new questions."""
        if rng.random() < self._fresh_share():
            self._refill(rng)
        denial = DENIAL if self.step > DENIAL_FROM * self.steps else 0.0
        length = lambda encoded: encoded.video.duration_s  # noqa: E731
        anchor = length(self.replay[rng.integers(len(self.replay))])
        order = sorted(rng.permutation(len(self.replay)), key=lambda i: abs(length(self.replay[i]) - anchor))
        samples, left = [], TOKENS
        for i in order:
            sample = training_sample(self.replay[i], self.curriculum, rng, denial)
            if sample.tasks:
                samples.append(sample)
                left -= 14 * length(sample.encoded) + 26 * len(sample.tasks)
            if left <= 0:
                break
        return samples

    def _fresh_share(self) -> float:
        return 1.0 if len(self.replay) < REPLAY else FRESH

    def _refill(self, rng: np.random.Generator) -> None:
        videos = [training_video(self.curriculum, rng) for _ in range(8)]
        self.replay = (self.replay + encode(self.model, videos, rng))[-REPLAY:]

    def _report(self, figures: dict[str, Tensor]) -> dict:
        losses = {name: round(float(value.detach()), 3) for name, value in figures.items()}
        right = {kind: round(value, 3) for kind, value in self.curriculum.right.items()}
        progress = {"step": self.step, "seconds": round(self.seconds), "tokens": self.tokens}
        return {"stage": "text", **progress, "level": self.curriculum.level, **losses, "right": right}

    @torch.no_grad()
    def test(self, videos: int = 4) -> dict[str, dict[str, float]]:
        """Exact match by number of events and kind, on voices and seeds that are never trained on."""
        return {str(n): exact_match(self.model, self.packer, n, videos) for n in (3, 8, 16, 28)}

    def state(self) -> dict:
        """Everything that `load_state` needs: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "binding": self.binding.state_dict(),
            "found": self.found.state_dict(),
            "curriculum": vars(self.curriculum),
            "replay": [encoded.state() for encoded in self.replay],
            "counters": (self.step, self.seconds, self.tokens),
        }

    def load_state(self, state: dict) -> None:
        """Go on where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.binding.load_state_dict(state["binding"])
        self.found.load_state_dict(state["found"])
        self.curriculum = Curriculum(**state["curriculum"])
        self.replay = [Encoded.from_state(encoded) for encoded in state["replay"]]
        self.step, self.seconds, self.tokens = state["counters"]


def whole_answers(batch: Batch, right: Tensor) -> list[bool]:
    """Per task, whether every token of the answer is right (what greedy decoding would then write)."""
    wrong = set(batch.answers[~right, 3].tolist())
    return [number not in wrong for number in range(len(batch.tasks))]


@torch.no_grad()
def exact_match(model: nn.Module, packer: Packer, events: int, videos: int, seed: int = 61_000) -> dict[str, float]:
    """Exact match by kind on videos of evaluation seeds and voices."""
    found = defaultdict(list)
    scripts = [make_video(seed + i, events, "skew" if i % 2 else "even", "eval") for i in range(videos)]
    for encoded in encode(model, scripts, np.random.default_rng(seed)):
        video = encoded.video
        tasks = [Task(q, round(video.duration_s)) for q in questions(video, seed, tuple(KINDS), 2)]
        batch = packer.pack([Sample(encoded, "av", tasks)])
        _, right = answer_loss(model.get_decoder(), forward(model, batch), batch)
        for task, whole in zip(tasks, whole_answers(batch, right), strict=True):
            found[task.question.kind].append(whole)
    return {kind: round(sum(values) / len(values), 3) for kind, values in found.items()}
