"""What a user may choose of a fine-tuning. Knows plain values and how each is typed; no torch."""

from dataclasses import dataclass

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED, MODEL, OUTPUT, flag, not_negative, positive, split


def _targets(text: str, flag: str) -> tuple[str, ...]:
    named = tuple(split(text))
    if not named:
        raise UsageError(f"{flag} names no projection.", "Write, for example, q_proj,k_proj,v_proj.")
    return named


def _part(value: float, flag: str) -> float:
    if not 0 <= value < 1:
        raise UsageError(f"{flag} {value:g} is no share.", "Give 0 or more, below 1.")
    return value


@dataclass(frozen=True)
class Training:
    """Defaults are those of the launcher that was released with OmniMem (bytedance/SALMONN, branch omni_mem, test.sh):
    rank, alpha, dropout, targets, learning rate, cosine schedule with 3 % warm-up, one epoch, one video per step.
    """

    rank: int = flag(128, ADVANCED, "--rank N", "Rank of the LoRA matrices.", read=positive)
    alpha: float = flag(256.0, ADVANCED, "--alpha A", "LoRA scale times the rank.", read=positive)
    dropout: float = flag(0.05, ADVANCED, "--dropout P", "Dropout before the LoRA matrices.", read=_part)
    targets: tuple[str, ...] = flag(
        ("q_proj", "k_proj", "v_proj"),
        ADVANCED,
        "--targets NAME,...",
        "Projections of the language model that get LoRA matrices.",
        read=_targets,
        text=True,
        shown="q_proj,k_proj,v_proj",
    )
    learning_rate: float = flag(2e-5, MODEL, "--learning-rate R", "Peak learning rate.", read=positive)
    warmup: float = flag(0.03, ADVANCED, "--warmup SHARE", "Share of the steps with a rising rate.", read=_part)
    epochs: int = flag(1, MODEL, "--epochs N", "Passes over the data.", read=positive)
    accumulate: int = flag(1, ADVANCED, "--accumulate N", "Videos per step.", read=positive)
    decay: float = flag(0.0, ADVANCED, "--weight-decay W", "Weight decay.", read=not_negative)
    clip: float = flag(1.0, ADVANCED, "--clip-norm N", "Largest norm of the gradient.", read=positive)
    seed: int = flag(0, ADVANCED, "--seed N", "Seed of order, split, dropout, first weights.", has_variable=False)
    validate: float = flag(
        0.0, MODEL, "--validate SHARE", "Share of the videos to validate with after each epoch.", read=_part
    )
    save_every: int = flag(50, OUTPUT, "--save-every N", "Steps between checkpoints.", read=positive)
