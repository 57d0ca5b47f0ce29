"""Everything a run was asked to do, resolved from flags, environment, config files and defaults.

Knows plain values and how each is typed; knows no torch, no model and no command. One instance serves all inputs of a
run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base import flags
from omnimem_cli.base.budget import Budget, typed_budget
from omnimem_cli.base.choices import DECODE, DTYPES, HWACCEL, KV_BITS, MROPE, NOTES, POSITIONS, STILLS, SUBTITLES
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED, ANSWER, INPUT, MODEL, OUTPUT, Choice, flag, not_negative, positive
from omnimem_cli.base.texts import typed_text
from omnimem_cli.base.timecode import parse_span, parse_time

SHAPING = (
    *("start_s", "end_s", "audio_track", "video_track", "no_audio", "no_video"),
    *("fps", "max_pixels", "mrope", "stills", "decode"),
    *("budget", "policy", "plan", "av_ratio", "positions", "chunk", "kv_bits", "focus"),
)
"""The settings that shape a watch and its memory: a memory that was kept has them already."""

MOST_SPANS = 3  # of evidence per answer
ANSWER_TOKENS = 768  # of an answer, unless the user or the task wants fewer
BY_MODEL = "the model's"  # the help's default of what `models show` tells


@dataclass(frozen=True)
class Settings:
    """Resolved options, each with its flag. None means: the default of the model or of the task.

    Raises UsageError for values that exclude each other.
    """

    # media
    start_s: float | None = flag(
        None,
        INPUT,
        "--start TIME",
        "Start time (90, 1:30 or 0:01:30.5).",
        read=parse_time,
        text=True,
        shown="the start",
    )
    end_s: float | None = flag(None, INPUT, "--end TIME", "End time.", read=parse_time, text=True, shown="the end")
    audio_track: str | None = flag(
        None,
        ADVANCED,
        "--audio-track N|LANG",
        "Audio track: its number from 1, or a language tag (jpn).",
        read=typed_text,
        shown="the file's default track",
    )
    video_track: str | None = flag(
        None,
        ADVANCED,
        "--video-track N",
        "Video track: its number from 1.",
        shown="the file's default track",
    )
    no_audio: bool = flag(False, ADVANCED, "--no-audio", "Ignore the sound.")
    no_video: bool = flag(False, ADVANCED, "--no-video", "Ignore the picture.")
    fps: float | None = flag(
        None, ADVANCED, "--fps N", "Frames per second that the model sees.", read=positive, shown=BY_MODEL
    )
    max_pixels: int | None = flag(
        None, ADVANCED, "--max-pixels N", "Maximum pixels per frame.", read=positive, shown=BY_MODEL
    )
    stills: str = flag(
        STILLS[0],
        ADVANCED,
        "--stills HOW",
        "Pictures that show nothing new: watch, or skip most of them: faster, for small budgets. All sound is heard.",
        read=Choice(*STILLS),
    )
    decode: str = flag(
        DECODE[0],
        ADVANCED,
        "--decode FRAMES",
        "Frames of a file to decode: all, or keyframes alone, each shown until the next (much faster, and coarser).",
        read=Choice(*DECODE),
    )
    hwaccel: str = flag(
        HWACCEL[0],
        ADVANCED,
        "--hwaccel NAME",
        "Decoder of a file's picture: none (the processor), cuda (the GPU's, where ffmpeg can), or auto: cuda where "
        "the model runs on a GPU.",
        read=Choice(*HWACCEL),
    )
    # model
    model: str = flag(
        "auto",
        MODEL,
        "-m --model NAME",
        "A name from `omnimem models list`, a Hugging Face id, a folder, or auto: the first installed one that fits.",
    )
    adapter: str | None = flag(
        None,
        ADVANCED,
        "--adapter FOLDER",
        "LoRA weights to merge into the model: a folder in PEFT's layout, as `omnimem finetune` writes.",
        shown="none",
    )
    device: str = flag("auto", MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.", read=flags.device)
    dtype: str | None = flag(
        None,
        ADVANCED,
        "--dtype TYPE",
        "Type of the weights: float32, bfloat16, float16; int8 and int4 need an extra.",
        read=Choice(*DTYPES),
        shown="bfloat16 on CUDA and CPUs that are faster with it, else float32",
    )
    offline: bool = flag(False, ADVANCED, "--offline", "Download and look up nothing; only a URL itself is opened.")
    mrope: str = flag(
        "released",
        ADVANCED,
        "--mrope RULE",
        "Positions of video-SALMONN 2+ on Qwen2.5-VL: released or trained.",
        read=Choice(*MROPE),
    )
    # memory
    budget: Budget | None = flag(
        None,
        MODEL,
        "--budget SIZE",
        "Bound of the KV memory: entries per layer (8k), bytes (2GiB), or auto: the largest that fits.",
        read=typed_budget,
        text=True,
        shown="the model's, 8k for most",
    )
    policy: str = flag(
        "salience", ADVANCED, "--policy NAME[:KEY=VALUE]...", "Eviction policy (see `omnimem bench needle`)."
    )
    plan: str | None = flag(
        None,
        ADVANCED,
        "--plan FILE",
        "Budgets per layer and heads for evidence: a file of `omnimem calibrate`, or nano for the built-in one.",
        shown="every layer alike",
    )
    av_ratio: float | None = flag(
        None,
        ADVANCED,
        "--av-ratio R",
        "Visual : audio share of the budget, where the policy splits it and no plan does.",
        read=positive,
        shown=BY_MODEL,
    )
    positions: str = flag(
        "keep",
        ADVANCED,
        "--positions RULE",
        "Rotary positions of kept keys: keep, lazy, eager or retime.",
        read=Choice(*POSITIONS),
    )
    kv_bits: int = flag(
        KV_BITS[0],
        ADVANCED,
        "--kv-bits N",
        "Bits of kept keys and values: 16, 8 or 4. Fewer bits hold more entries in the same bytes.",
        read=Choice(*KV_BITS),
    )
    focus: tuple[str, ...] = flag(
        (),
        ADVANCED,
        "--focus TEXT",
        "What the watch is about: what this text attends to is kept rather than the rest.",
        read=flags.one_text,
        text=True,
        shown="nothing",
    )
    chunk: int | None = flag(
        None, ADVANCED, "--chunk TOKENS", "Tokens per forward pass.", read=positive, shown="twice the budget"
    )
    # answers
    language: str | None = flag(
        None, ANSWER, "--language NAME", "Language of the output.", read=typed_text, shown="the model's choice"
    )
    spoken_language: str | None = flag(
        None,
        ADVANCED,
        "--spoken-language NAME",
        "Language spoken in the input.",
        read=typed_text,
        shown="detected by the model",
    )
    glossary: tuple[str, ...] = flag(
        (),
        ADVANCED,
        "--glossary FILE",
        "Names and terms to spell right, one per line.",
        read=flags.lines_of,
        text=True,
    )
    look_again: bool = flag(
        False,
        ANSWER,
        "--look-again",
        "Decode the moments an answer may rest on once more, in more detail, and ask again.",
    )
    look_span_s: float | None = flag(
        None,
        ADVANCED,
        "--look-span SPAN",
        "Most video that --look-again decodes for one question.",
        read=parse_span,
        text=True,
        shown="60s, less of a short video",
    )
    notes: str = flag(
        NOTES[0],
        ADVANCED,
        "--notes WHEN",
        "Notes taken on the way and read with each question: auto (where a video is long for its budget), on or off.",
        read=Choice(*NOTES),
    )
    subtitles: str | None = flag(
        None,
        ADVANCED,
        "--subtitles HOW",
        "Subtitles beside or inside the video: use them as the transcript, or as a hint to the model.",
        read=Choice(*SUBTITLES),
        shown="not used",
    )
    vad: str = flag(
        "energy",
        ADVANCED,
        "--vad NAME",
        "Voice-activity detector: energy, or silero (needs an extra).",
        read=flags.detector,
    )
    max_tokens: int | None = flag(
        None,
        ADVANCED,
        "--max-tokens N",
        "Maximum tokens per answer.",
        read=positive,
        shown=f"{ANSWER_TOKENS}; 384 per window of a transcript",
    )
    temperature: float = flag(
        0.0, ADVANCED, "--temperature T", "Randomness of answers; 0 is deterministic.", read=not_negative
    )
    top_p: float = flag(
        0.9,
        ADVANCED,
        "--top-p P",
        "Draw from the likeliest tokens that make up this share (--temperature above 0).",
        read=flags.share,
    )
    seed: int = flag(0, ADVANCED, "--seed N", "Seed of random answers (--temperature above 0).", read=flags.seed)
    # files
    formats: tuple[str, ...] = ("md",)
    output: str | None = flag(
        None,
        OUTPUT,
        "-o --output PATH",
        "A folder, a result file (notes.md), or - for stdout (JSON Lines).",
        shown="beside the input",
    )
    keep_memory: bool = flag(
        False, ADVANCED, "--keep-memory", "Keep the memory too (lecture.omnimem), to ask it without the video."
    )
    force: bool = flag(False, OUTPUT, "--force", "Redo finished work and overwrite existing files.")
    strict: bool = flag(False, OUTPUT, "--strict", "Exit 7 if a result is degraded (coverage, schema).")
    timeout_s: float | None = flag(
        None,
        ADVANCED,
        "--timeout SPAN",
        "Maximum time for one input: 600, 10m or 2h.",
        read=parse_span,
        text=True,
        shown="none",
    )

    def __post_init__(self):
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise UsageError(
                f"--end {self.end_s:g} is not after --start {self.start_s or 0:g}.",
                "Give a range of at least one second.",
            )
        if self.no_audio and self.no_video:
            raise UsageError("--no-audio and --no-video leave nothing to watch.", "Drop one of them.")

    @property
    def shaping(self) -> dict:
        """The settings that shape a watch, as plain values."""
        values = {name: getattr(self, name) for name in SHAPING}
        named = {"budget": self.budget and str(self.budget), "plan": self.plan and Path(self.plan).name}
        return values | named | {"focus": list(self.focus)}

    @property
    def answer_tokens(self) -> int:
        """The most tokens of one answer."""
        return self.max_tokens or ANSWER_TOKENS


@dataclass
class Progress:
    """What a run reports while it works; the command line draws it. ``total_s`` is None for live input.

    ``tokens``: those that were written of the ``questions`` that are being answered; 0 where none are.
    """

    stage: str = ""
    done_s: float = 0.0
    total_s: float | None = None
    tokens: int = 0
    questions: int = 0


Report = Callable[[Progress], None]
"""What a run calls with its progress."""
