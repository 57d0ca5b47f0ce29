"""Trains nano from nothing to a checkpoint folder: `python -m omnimem_cli.train.nano --out DIR`.

Stage 1 trains the two towers alone on single moments, at the same time, one core each; stage 2 freezes them and
trains the text model on questions about whole videos; stage 3 goes on with questions about what bounded memories hold,
in two runs, one core each, and writes weights three quarters of the way to their mean to DIR/nano. Deterministic for a
seed and a number of minutes, which sets the number of steps at a nominal speed. `--resume` continues from the last
saved step in DIR. Curves are written to DIR/log.jsonl, one JSON object per line.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as processes
from torch import Tensor
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from omnimem_cli.models.catalogue import row
from omnimem_cli.models.device import bfloat16_is_faster
from omnimem_cli.models.loader import LocalModel, load_local
from omnimem_cli.models.towers.vision import towers_of
from omnimem_cli.train.architecture import build
from omnimem_cli.train.budget_stage import BudgetStage
from omnimem_cli.train.export import save_checkpoint
from omnimem_cli.train.nano_tokenizer import build_tokenizer, token_ids
from omnimem_cli.train.text_stage import TextStage, init_embeddings
from omnimem_cli.train.tower_stage import train_audio, train_vision

MINUTES = 100
BUDGET_RUNS, WAY_TO_MEAN = 2, 0.75
"""From the weights before stage 3: up to there transcripts are as before, and most of its gain stays (LOG.md)."""
VISION_STEPS_PER_MINUTE, AUDIO_STEPS_PER_MINUTE, TEXT_STEPS_PER_MINUTE, BUDGET_STEPS_PER_MINUTE = 16, 30, 21, 10


def logger(folder: Path) -> Callable[[dict], None]:
    """A function that appends one JSON line to the log."""

    def log(record: dict) -> None:
        with (folder / "log.jsonl").open("a") as file:
            print(json.dumps(record), file=file)

    return log


def new_model(seed: int) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """A nano with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    return build(token_ids(build_tokenizer()))


def train_tower(kind: str, steps: int, seed: int, folder: Path) -> None:
    """Train one tower ("vision" or "audio") on one core and save it in `folder`."""
    torch.set_num_threads(1)
    model = new_model(seed)
    towers = towers_of(model)
    tower = towers.visual if kind == "vision" else towers.audio_tower
    train = train_vision if kind == "vision" else train_audio
    train(tower, steps, seed + 1, logger(folder))
    torch.save(tower.state_dict(), folder / f"{kind}.pt")


def towers_stage(minutes: float, seed: int, folder: Path) -> None:
    """Stage 1: both towers, side by side; a tower that is there already is kept."""
    steps = {"vision": round(VISION_STEPS_PER_MINUTE * minutes), "audio": round(AUDIO_STEPS_PER_MINUTE * minutes)}
    missing = [kind for kind in steps if not (folder / f"{kind}.pt").exists()]
    side_by_side(train_tower, [(kind, steps[kind], seed, folder) for kind in missing])


def side_by_side(target: Callable[..., None], arguments: list[tuple]) -> None:
    """Call ``target`` with each of the arguments, in processes at the same time."""
    context = processes.get_context("spawn")
    workers = [context.Process(target=target, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"{target.__name__} ended with exit code {worker.exitcode}")


def text_stage(minutes: float, seed: int, folder: Path) -> None:
    """Stage 2: the text model over the frozen towers of stage 1, into the folder's ``checkpoint``."""
    tokenizer, model = build_tokenizer(), new_model(seed)
    towers_of(model).visual.load_state_dict(torch.load(folder / "vision.pt"))
    towers_of(model).audio_tower.load_state_dict(torch.load(folder / "audio.pt"))
    stage = TextStage(model, tokenizer, round(TEXT_STEPS_PER_MINUTE * minutes), seed + 2, logger(folder))
    saved = folder / "text.pt"
    if saved.exists():
        load_training(stage, saved)
    else:
        init_embeddings(model, tokenizer, seed)

    def save(stage: TextStage) -> None:
        save_training(stage, saved)
        save_checkpoint(model, tokenizer, folder / "checkpoint")

    stage.run(save)


def budget_stage(minutes: float, seed: int, folder: Path) -> None:
    """Stage 3: two runs from ``checkpoint``, side by side; weights most of the way to their mean, in ``nano``."""
    runs = [folder / f"budget-{number}.pt" for number in range(BUDGET_RUNS)]
    steps = round(BUDGET_STEPS_PER_MINUTE * minutes)
    side_by_side(train_under_budgets, [(steps, seed + 3 + number, folder, run) for number, run in enumerate(runs)])
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(folder / "checkpoint", dtype=torch.float32)
    with torch.no_grad():
        for name, mean in mean_of(runs).items():
            model.get_parameter(name).lerp_(mean, WAY_TO_MEAN)
    save_checkpoint(model, build_tokenizer(), folder / "nano")


def train_under_budgets(steps: int, seed: int, folder: Path, saved: Path) -> None:
    """One run of stage 3 on one core, whose state is in ``saved``."""
    torch.set_num_threads(1)
    dtype = "bfloat16" if bfloat16_is_faster() else "float32"
    adapter = load_local(LocalModel(row("nano"), folder / "checkpoint"), device="cpu", dtype=dtype)
    stage = BudgetStage(adapter, steps, seed, logger(folder))
    if saved.exists():
        load_training(stage, saved)
    stage.run(lambda stage: save_training(stage, saved))


def mean_of(runs: list[Path]) -> dict[str, Tensor]:
    """The mean of the weights of some runs of stage 3."""
    means = [torch.load(run, weights_only=True)["mean"] for run in runs]
    return {name: sum(mean[name] for mean in means) / len(means) for name in means[0]}


def save_training(stage: TextStage | BudgetStage, file: Path) -> None:
    """Write the weights and the state of a training; the file is whole or the one before."""
    partial = file.with_suffix(".partial")
    torch.save(stage.state(), partial)
    partial.replace(file)


def load_training(stage: TextStage | BudgetStage, file: Path) -> None:
    """Continue where `save_training` was called. Reads tensors and plain values only, so no file can run code."""
    stage.load_state(torch.load(file, weights_only=True))


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("nano-training"), help="folder for logs, states, checkpoint")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="length of the training at nominal speed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="continue from what DIR holds")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.resume and any(options.out.glob("*.pt")):
        parser.error(f"{options.out} holds a training already; pass --resume or another --out")
    towers_stage(options.minutes, options.seed, options.out)
    text_stage(options.minutes, options.seed, options.out)
    budget_stage(options.minutes, options.seed, options.out)


if __name__ == "__main__":
    main()
