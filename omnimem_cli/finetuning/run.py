"""A fine-tuning run: steps over examples, the loss curve, checkpoints, and validation after each epoch.

Knows examples, a loaded model and a folder; knows no command line. The same data, settings and seed give the same run
on the same device, resumed or not: every step draws from a seed of its own.
"""

import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.finetuning.choices import Training
from omnimem_cli.finetuning.dataset import Example
from omnimem_cli.finetuning.example_watch import ExampleWatch, watch_example
from omnimem_cli.finetuning.low_rank import LowRank
from omnimem_cli.finetuning.rate import rate
from omnimem_cli.jobs.files import write_with
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.models.loading import memory_errors

CURVE, STATE = "loss.jsonl", "training.pt"


@dataclass
class FinetuneRun:
    """One run. ``failed``: ids of examples that could not be watched, which cost nothing but themselves."""

    adapter: Adapter
    settings: Settings
    training: Training
    examples: list[Example]
    held_out: list[Example]
    folder: Path
    step: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.lora = LowRank(self.adapter, self.training)
        self.optimiser = torch.optim.AdamW(self.lora.parameters, lr=0.0, weight_decay=self.training.decay)
        self.curve: list[dict] = []

    @property
    def per_epoch(self) -> int:
        """Steps of one pass over the data."""
        return -(-len(self.examples) // self.training.accumulate)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.training.epochs * self.per_epoch

    def run(self, report: Report) -> None:
        """Train to the last step. Raises InputError where no example at all can be watched."""
        while self.step < self.steps:
            batch = self._batch(self.step)
            report(Progress(readable_path(batch[0].video.name), self.step, self.steps))
            self._log(self._train(batch))
            self.step += 1
            if self.step % self.per_epoch == 0 and self.held_out:
                self._log(self.validate())
            if self.step % self.training.save_every == 0 or self.step == self.steps:
                self.save()
        if len(self.failed) == len({example.id for example in self.examples}):
            raise InputError("None of the videos could be watched.", f"{CURVE} in {self.folder} says why.")

    def validate(self) -> dict:
        """Mean loss, and the share of answers that equal the data's, over the held-out examples."""
        losses, exact = [], []
        for example in self.held_out:
            watched = self._watched(example)
            if watched is not None:
                losses.append(watched.loss().item())
                exact += watched.exact()
        count = len(losses)
        shares = {"loss": sum(losses) / count, "exact": sum(exact) / len(exact)} if count else {}
        return {"step": self.step, "validation": shares | {"videos": count, "answers": len(exact)}}

    def save(self) -> None:
        """Write adapter, curve and state; each file is whole or the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lora.save(self.folder)
        lines = "".join(json.dumps(record) + "\n" for record in self.curve)
        write_with(self.folder / CURVE, lambda place: place.write_text(lines, "utf-8"))
        state = {
            "identity": self.identity(),
            "step": self.step,
            "failed": self.failed,
            "matrices": self.lora.state(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_with(self.folder / STATE, lambda place: torch.save(state, place))

    def resume(self) -> None:
        """Continue where ``save`` was called. Raises UsageError for a folder without a run, or with another one."""
        try:
            state = torch.load(self.folder / STATE, weights_only=True, map_location="cpu")
            records = (self.folder / CURVE).read_text("utf-8").splitlines()
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{self.folder} holds no run to resume.", "Leave out --resume.") from error
        if state["identity"] != self.identity():
            raise UsageError(f"{self.folder} holds a run with other data or settings.", "Use another -o.")
        self.step, self.failed = state["step"], state["failed"]
        self.curve = [json.loads(line) for line in records]
        self.lora.load_state(state["matrices"])
        self.optimiser.load_state_dict(state["optimiser"])

    def identity(self) -> str:
        """A digest of all that decides the weights: data, model, settings that shape a watch, and the training's."""
        training = {name: value for name, value in asdict(self.training).items() if name != "save_every"}
        data = [[example.id, str(example.video.resolve()), example.pairs] for example in self.examples]
        facts = [data, self.adapter.name, self.adapter.revision, self.settings.shaping, training]
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()

    def _batch(self, step: int) -> list[Example]:
        """The examples of a step: each epoch has an order of its own."""
        epoch, at = divmod(step, self.per_epoch)
        order = list(self.examples)
        random.Random(f"{self.training.seed} {epoch}").shuffle(order)
        size = self.training.accumulate
        return order[at * size : (at + 1) * size]

    def _train(self, batch: list[Example]) -> dict:
        """One step; without a usable example the weights stay."""
        began, share = time.monotonic(), rate(self.step, self.steps, self.training.warmup)
        torch.manual_seed(self.training.seed * 1_000_003 + self.step)
        losses = list(self._losses(batch))
        figures = {"step": self.step, "rate": share * self.training.learning_rate, "ids": [e.id for e in batch]}
        if losses:
            self._update(share, len(losses))
        mean = sum(losses) / len(losses) if losses else None
        return figures | {"loss": mean, "seconds": round(time.monotonic() - began, 2)}

    def _losses(self, batch: list[Example]) -> Iterator[float]:
        """The loss of each usable example; its gradient is added up on the way."""
        self.optimiser.zero_grad(set_to_none=True)
        for example in batch:
            watched = self._watched(example)
            if watched is None:
                continue
            with memory_errors(f"Fine-tuning on {example.video.name}"), self.lora.teaching():
                loss = watched.loss()
                if bool(loss.isfinite()):
                    loss.backward()
            if bool(loss.isfinite()):
                yield loss.item()
            else:
                self._fail(example, "its loss is not a number")

    def _watched(self, example: Example) -> ExampleWatch | None:
        """None for an example that cannot be watched: it is noted, and not tried again."""
        if example.id in self.failed:
            return None
        try:
            with memory_errors(f"Watching {example.video.name}"):
                return watch_example(example, self.settings, self.adapter)
        except InputError as error:
            self._fail(example, error.message)
            return None

    def _fail(self, example: Example, why: str) -> None:
        self.failed[example.id] = why
        console.warn(f"{example.id}: {why}")
        self._log({"step": self.step, "failed": example.id, "error": why})

    def _update(self, share: float, count: int) -> None:
        for p in self.lora.parameters:
            if p.grad is not None:
                p.grad /= count
        nn.utils.clip_grad_norm_(self.lora.parameters, self.training.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = share * self.training.learning_rate
        self.optimiser.step()

    def _log(self, record: dict) -> None:
        self.curve.append(record)
