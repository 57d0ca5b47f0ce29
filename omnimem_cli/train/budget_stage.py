"""Stage 3 of nano's training: the text model goes on, asked about what bounded memories hold of videos.

Gradients go through questions and their answers alone, a tenth of the work of a pass through the video with them
(train/LOG.md). Knows watched memories and weights; knows no video. The weights that are kept are the running mean.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from omnimem_cli.memory.gradient import GradientFork, constant
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.store import Store
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.taught_answers import answer_ids, answer_losses
from omnimem_cli.train.bounded_watch import (
    KINDS_OF_VIDEO,
    EncodedVideo,
    Script,
    draw_questions,
    draw_watch,
    draw_window,
)
from omnimem_cli.world.questions import Question

PEAK, WARM_UP, FLAT = 2e-4, 20, 0.3
WATCHES = 4
"""Of a step."""
WINDOW_SHARE = 0.4
"""Of watches, those of which one window is read: without these transcripts are unlearned."""
POOL, FRESH = 16, 0.45
"""Videos of each kind to watch again, and the share of watches of a new one."""
WEIGHTS = {"absent": 1.5, "last_slide": 1.3, "last_word": 1.3}
MEAN_OVER = 65  # steps, about, of the running mean
LOG_EVERY, SAVE_EVERY = 20, 100


class BudgetStage:
    """The training, resumable at any step; every step draws from its own seed.

    Weights that learn are held in float32 beside the adapter's own, which may be of another type.
    """

    def __init__(self, adapter: Adapter, steps: int, seed: int, log: Callable[[dict], None]):
        self.adapter, self.steps, self.seed, self.log = adapter, steps, seed, log
        self.named = text_weights(adapter.model)
        self.learned = {name: p.detach().float().clone() for name, p in self.named.items()}
        self.mean = {name: p.clone() for name, p in self.learned.items()}
        self.optimiser = torch.optim.AdamW(self.learned.values(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.0)
        self.pool: dict[str, deque[EncodedVideo]] = {kind: deque(maxlen=POOL) for kind in KINDS_OF_VIDEO}
        self.right: dict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=300))
        self.step, self.seconds = 0, 0.0

    def run(self, save: Callable[["BudgetStage"], None]) -> None:
        """Train to the last step. `save` is called with the stage every SAVE_EVERY steps and at the end."""
        began = time.monotonic() - self.seconds
        while self.step < self.steps:
            loss = self._train_step()
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.step % LOG_EVERY == 0:
                self.log(self._report(loss))
            if self.step % SAVE_EVERY == 0 or self.step == self.steps:
                save(self)

    def _train_step(self) -> float:
        rng = np.random.default_rng((self.seed, self.step))
        self.optimiser.zero_grad(set_to_none=True)
        losses = [loss for loss in (self._learn(rng) for _ in range(WATCHES)) if loss is not None]
        for group in self.optimiser.param_groups:
            group["lr"] = PEAK * rate(self.step, self.steps)
        for p in self.learned.values():
            if p.grad is not None:
                p.grad /= len(losses)
        nn.utils.clip_grad_norm_(self.learned.values(), 1.0)
        self.optimiser.step()
        self._take_over()
        return fmean(losses) if losses else math.nan

    def _learn(self, rng: np.random.Generator) -> float | None:
        """Add up the gradients of one memory's questions. Their loss; None where nothing can be asked."""
        encoded = self._video(str(rng.choice(list(KINDS_OF_VIDEO), p=list(KINDS_OF_VIDEO.values()))), rng)
        memory, stores, asked = _drawn(encoded, rng)
        if not asked:
            return None
        questions = encoded.stream.question([question.text for question in asked])
        answers = [answer_ids(self.adapter, question.answer) for question in asked]
        lengths = list(map(len, answers))
        losses, right = answer_losses(self.adapter, GradientFork(memory, constant(stores)), questions, answers)
        loss = weighted(losses, asked, lengths)
        loss.backward()
        self._gather()
        for question, tokens in zip(asked, right.split(lengths), strict=True):
            self.right[question.kind].append(bool(tokens.all()))
        return float(loss.detach())

    def _gather(self) -> None:
        """Add the model's gradients to those of what is learned."""
        for name, p in self.named.items():
            if p.grad is not None:
                own = self.learned[name]
                own.grad = p.grad.float() if own.grad is None else own.grad + p.grad
                p.grad = None

    def _video(self, kind: str, rng: np.random.Generator) -> EncodedVideo:
        pool = self.pool[kind]
        if len(pool) < POOL // 2 or rng.random() < FRESH:
            pool.append(EncodedVideo(Script.draw(kind, rng), self.adapter))
            return pool[-1]
        return pool[int(rng.integers(len(pool)))]

    @torch.no_grad()
    def _take_over(self) -> None:
        share = 1 / min(MEAN_OVER, 1 + self.step)
        for name, p in self.named.items():
            p.copy_(self.learned[name])
            self.mean[name].lerp_(self.learned[name], share)

    def _report(self, loss: float) -> dict:
        right = {kind: round(fmean(values), 3) for kind, values in sorted(self.right.items())}
        facts = {"step": self.step, "seconds": round(self.seconds), "answers": round(loss, 3), "right": right}
        return {"stage": "budget", "seed": self.seed, **facts}

    def state(self) -> dict:
        """Everything that `load_state` needs: tensors and plain values."""
        return {
            "learned": self.learned,
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
            "pool": [asdict(encoded.script) for pool in self.pool.values() for encoded in pool],
            "counters": (self.step, self.seconds),
        }

    @torch.no_grad()
    def load_state(self, state: dict) -> None:
        """Go on where `state` was taken."""
        for name, p in self.named.items():
            self.learned[name].copy_(state["learned"][name])
            self.mean[name].copy_(state["mean"][name])
            p.copy_(self.learned[name])
        self.optimiser.load_state_dict(state["optimiser"])
        for script in state["pool"]:
            self.pool[script["kind"]].append(EncodedVideo(Script(**script), self.adapter))
        self.step, self.seconds = state["counters"]


def _drawn(encoded: EncodedVideo, rng: np.random.Generator) -> tuple[Memory, list[Store], list[Question]]:
    """A memory, what is read of it, and what is asked."""
    if rng.random() < WINDOW_SHARE:
        return draw_window(encoded, rng)
    memory = encoded.watched(draw_watch(encoded, rng))
    return memory, memory.stores, draw_questions(encoded, memory, rng)


def text_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the text model, which alone ask for gradients from here on."""
    model.requires_grad_(False)
    model.get_decoder().requires_grad_(True)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def rate(step: int, steps: int) -> float:
    """Share of the peak rate: warm-up, then even for FLAT of the steps, then a cosine to zero."""
    done = step / steps
    even = 1.0 if done < FLAT else (1 + math.cos(math.pi * (done - FLAT) / (1 - FLAT))) / 2
    return min(1.0, (step + 1) / WARM_UP) * even


def weighted(losses: Tensor, asked: list[Question], lengths: list[int]) -> Tensor:
    """The mean of the tokens' ``losses``; those of long answers count less each, but more together."""
    each = [WEIGHTS.get(question.kind, 1.0) / math.sqrt(n) for question, n in zip(asked, lengths, strict=True)]
    weights = torch.tensor(each).repeat_interleave(torch.tensor(lengths))
    return (losses * weights).sum() / weights.sum()
