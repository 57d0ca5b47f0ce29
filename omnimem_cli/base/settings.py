"""Everything a run was asked to do, resolved from flags, environment, config files and defaults.

Knows plain values; knows no torch, no model and no command. One instance serves all inputs of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from omnimem_cli.base.budget import Budget

ANSWER_TOKENS = 768  # of an answer, unless the user or the task wants fewer


@dataclass(frozen=True)
class Settings:
    """Resolved options. None means: the catalogue row's (or the task's) default."""

    # model
    model: str = "auto"  # auto | catalogue name | hub id | folder
    device: str = "auto"  # auto | cuda | cuda:N | cpu
    dtype: str | None = None  # float32 | bfloat16 | float16
    offline: bool = False
    # memory
    budget: Budget | None = None
    policy: str = "omnimem"  # NAME[:key=value]...
    plan: str | None = None  # AVBA plan file
    av_ratio: float | None = None  # visual : audio prior r
    positions: str = "keep"  # keep | lazy | eager | retime
    chunk: int | None = None  # tokens
    # media
    fps: float | None = None
    max_pixels: int | None = None
    mrope: str = "released"  # released | trained
    start_s: float | None = None
    end_s: float | None = None
    audio_track: str | None = None  # 1-based number or language tag
    no_audio: bool = False
    no_video: bool = False
    timeout_s: float | None = None  # wall clock for one input
    # answers
    language: str | None = None
    spoken_language: str | None = None
    glossary: tuple[str, ...] = ()
    vad: str = "energy"  # energy | silero: what counts as speech
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    # files
    formats: tuple[str, ...] = ("md",)
    output: str | None = None
    force: bool = False
    strict: bool = False

    @property
    def answer_tokens(self) -> int:
        """The most tokens of one answer."""
        return self.max_tokens or ANSWER_TOKENS


@dataclass
class Progress:
    """What a run tells while it works; the command line draws it. ``total_s`` is None for live input."""

    stage: str = ""
    done_s: float = 0.0
    total_s: float | None = None
    notes: list[str] = field(default_factory=list)


Report = Callable[[Progress], None]
"""What a run calls with its progress."""
