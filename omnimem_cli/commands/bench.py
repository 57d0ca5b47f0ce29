"""``omnimem bench``: how much memory, accuracy and time a policy takes, on generated videos with known answers."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from omnimem_cli.commands.examples import examples
from omnimem_cli.console import talk
from omnimem_cli.errors import OutputError, UsageError
from omnimem_cli.options import ADVANCED, MODEL, PLAN_HELP, TALK, option, plan_file
from omnimem_cli.settings import Settings

app = typer.Typer(help="Measure policies: accuracy, speed, memory.", no_args_is_help=True)

Model = Annotated[str, option(MODEL, "-m --model NAME", "nano (the default), a name, a Hugging Face id, or a folder.")]
Policies = Annotated[str, option(MODEL, "--policies NAME[:KEY=VALUE]...,...", "Comma-separated policies.")]
Device = Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")]
Dtype = Annotated[str | None, option(ADVANCED, "--dtype TYPE", "float32, bfloat16 or float16.")]
Seed = Annotated[int, option(MODEL, "--seed N", "Seed of the first generated video.")]
Budget = Annotated[str | None, option(MODEL, "--budget SIZE", "Entries per layer (8k) or bytes (2GiB).")]
Chunk = Annotated[int | None, option(ADVANCED, "--chunk TOKENS", "Tokens per forward pass.")]
Format = Annotated[
    str, option(TALK, "-f --format FORMAT", "table (the default; its last line is JSON) or json (that line alone).")
]
Quiet = Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")]
EVALUATION_SEED = 60_000


@app.command(
    "memory",
    epilog=examples(["omnimem bench memory --hours 3", "omnimem bench memory --policies omnimem,full --hours 0.5"]),
)
def memory(
    model: Model = "nano",
    policies: Policies = "omnimem",
    hours: Annotated[float, option(MODEL, "--hours H", "Length of the generated stream.")] = 3.0,
    budget: Budget = None,
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Watch a long generated stream; print host RAM and bytes of the memory per minute of video."""
    from omnimem_cli.bench.memory import bench_memory
    from omnimem_cli.bench.tables import memory_table

    _check(format)
    settings = Settings(model=model, budget=budget, chunk=chunk, seed=seed, device=device, dtype=dtype)
    talk.configure(quiet=quiet)
    with talk.progress("bench memory") as report:
        result = bench_memory(_adapter(settings), _names(policies), hours, settings, report)
    _print(result, memory_table(result), format)


@app.command(
    "needle",
    epilog=examples(
        [
            "omnimem bench needle",
            "omnimem bench needle --policies omnimem,uniform --budgets 1/8,1/16 --videos 40 -f json",
        ]
    ),
)
def needle(
    model: Model = "nano",
    policies: Policies = "omnimem,full",
    budgets: Annotated[
        str, option(MODEL, "--budgets SHARE,...", "Shares of the full memory's bytes: 1/4,1/8,1/16.")
    ] = "1/4,1/8,1/16",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 20,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video.")] = 10,
    seconds: Annotated[
        float | None, option(MODEL, "--seconds S", "Stretch the videos to this length with a few long slides and gaps.")
    ] = None,
    mp4: Annotated[bool, option(ADVANCED, "--mp4", "Write, probe and decode real files on the way.")] = False,
    plan: Annotated[str | None, option(ADVANCED, "--plan FILE", PLAN_HELP)] = None,
    av_ratio: Annotated[float | None, option(ADVANCED, "--av-ratio R", "Visual to audio budget.")] = None,
    positions: Annotated[str, option(ADVANCED, "--positions RULE", "keep, lazy, eager or retime.")] = "keep",
    plot: Annotated[str, option(TALK, "--plot FILE", "Where the plot goes; '' for none.")] = "needle.svg",
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Ask about generated videos with known answers; print accuracy by policy and budget, and plot it."""
    from omnimem_cli.bench.needle import Needle, bench_needle
    from omnimem_cli.bench.plot import needle_svg
    from omnimem_cli.bench.tables import needle_table

    _check(format)
    _check_plot(plot)
    chosen = Needle(_names(policies), _shares(budgets), videos, seed, events, seconds, mp4)
    settings = Settings(
        model=model,
        plan=plan_file(plan),
        av_ratio=av_ratio,
        positions=positions,
        chunk=chunk,
        device=device,
        dtype=dtype,
    )
    talk.configure(quiet=quiet)
    with talk.progress("bench needle") as report:
        result = bench_needle(_adapter(settings), chosen, settings, report)
    if plot:
        title = f"Questions answered right, {videos} videos, {model}"
        _write_plot(Path(plot), needle_svg(result["rows"], title))
    _print(result, needle_table(result), format)


@app.command(
    "recall",
    epilog=examples(["omnimem bench recall", "omnimem bench recall --events 5-9 --videos 20 --policy omnimem"]),
)
def recall(
    model: Model = "nano",
    events: Annotated[
        str, option(MODEL, "--events RANGE,...", "Slides per video: one row each (2-8,16,28).")
    ] = "2-8,16,28",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos per row.")] = 20,
    policy: Annotated[str, option(MODEL, "--policy NAME[:KEY=VALUE]...", "What stays; full evicts nothing.")] = "full",
    budget: Budget = None,
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Summarize, transcribe and question generated mp4 files; print how much of it is right."""
    from omnimem_cli.bench.recall import Recall, bench_recall
    from omnimem_cli.bench.tables import recall_table

    _check(format)
    _names(policy)
    settings = Settings(model=model, policy=policy, budget=budget, chunk=chunk, device=device, dtype=dtype)
    talk.configure(quiet=quiet)
    with talk.progress("bench recall") as report:
        result = bench_recall(_adapter(settings), Recall(_ranges(events), videos, seed), settings, report)
    _print(result, recall_table(result), format)


def _ranges(text: str) -> list[tuple[int, int]]:
    """ "2-8,16" to [(2, 8), (16, 16)]. Raises UsageError."""
    ranges = []
    for part in text.split(","):
        least, _, most = part.strip().partition("-")
        if not least.isdecimal() or (most and not most.isdecimal()) or not 1 <= int(least) <= int(most or least):
            raise UsageError(f"--events {part} is no number of slides.", "Write, for example, 2-8,16,28.")
        ranges.append((int(least), int(most or least)))
    return ranges


@app.command(
    "speed",
    epilog=examples(
        [
            "omnimem bench speed --policies omnimem,full --chunk 512",
            "omnimem bench speed -m qwen2.5-omni-7b --random-weights --policies omnimem,full,carry",
        ]
    ),
)
def speed(
    model: Model = "nano",
    policies: Policies = "omnimem,full",
    share: Annotated[str, option(MODEL, "--share SHARE", "Entries per layer as a share of the tokens: 1/4.")] = "1/4",
    events: Annotated[int, option(MODEL, "--events N", "Slides of the video.")] = 20,
    repeats: Annotated[int, option(MODEL, "--repeats N", "Runs of which the best counts.")] = 5,
    random_weights: Annotated[
        bool, option(MODEL, "--random-weights", "A long 640x360 stream through the model's shape; needs no download.")
    ] = False,
    minutes: Annotated[
        str, option(MODEL, "--minutes M,...", "With --random-weights: lengths of video to report.")
    ] = "10,60,180",
    limit: Annotated[
        float | None, option(MODEL, "--limit SECONDS", "With --random-weights: stop a policy after so much watching.")
    ] = None,
    budget: Budget = None,
    max_pixels: Annotated[int | None, option(ADVANCED, "--max-pixels N", "Pixels per frame, at most.")] = None,
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Time encoding, prefill, scoring and answers by policy; print shares and the ratio to full."""
    from omnimem_cli.bench.speed import Speed, bench_speed
    from omnimem_cli.bench.tables import speed_table

    _check(format)
    settings = Settings(
        model=model, budget=budget, max_pixels=max_pixels, chunk=chunk, device=device, dtype=dtype, seed=seed
    )
    talk.configure(quiet=quiet)
    if random_weights:
        return _throughput(policies, _minutes(minutes), limit, settings, format)
    if budget is not None:
        raise UsageError("--budget goes with --random-weights.", "Without it the budget is --share of the tokens.")
    wanted = Speed(_names(policies), _shares(share)[0], events, repeats, seed)
    with talk.progress("bench speed") as report:
        result = bench_speed(_adapter(settings), wanted, settings, report)
    _print(result, speed_table(result), format)


def _throughput(policies: str, minutes: list[float], limit: float | None, settings: Settings, format: str) -> None:
    from omnimem_cli.bench.tables import throughput_table
    from omnimem_cli.bench.throughput import CARRY, Lengths, bench_throughput
    from omnimem_cli.models.blank import random_adapter

    names = [name.strip() for name in policies.split(",") if name.strip()]
    _names(",".join(name for name in names if name != CARRY) or "omnimem")
    adapter = random_adapter(settings.model, device=settings.device, dtype=settings.dtype)
    with talk.progress("bench speed") as report:
        result = bench_throughput(adapter, Lengths(names, minutes, limit), settings, report)
    _print(result, throughput_table(result), format)


def _minutes(text: str) -> list[float]:
    """ "10,60" to [10.0, 60.0]. Raises UsageError."""
    try:
        minutes = [float(part) for part in text.split(",")]
    except ValueError:
        minutes = []
    if not minutes or min(minutes) <= 0:
        raise UsageError(f"--minutes {text} is no list of lengths.", "Write, for example, 10,60,180.")
    return minutes


SETTINGS = (
    *(f"omnimem:stride={n}:carry=100" for n in (2, 4, 8, 16, 32)),
    "omnimem:stride=1:heads=averaged:carry=100",
    "omnimem:exponent=0:carry=100",
    *(f"omnimem:stride=1:carry={share}" for share in ("0.25", "0.125", "0.0625", "0.03125")),
    "omnimem",
)
EXACT = "omnimem:stride=1:carry=100"


@app.command("overlap", epilog=examples(["omnimem bench overlap", "omnimem bench overlap --policies omnimem:stride=4"]))
def overlap(
    model: Model = "nano",
    policies: Policies = ",".join(SETTINGS),
    reference: Annotated[str, option(MODEL, "--reference POLICY", "What the others are compared with.")] = EXACT,
    share: Annotated[str, option(MODEL, "--share SHARE", "Entries per layer as a share of the tokens: 1/4.")] = "1/4",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 4,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video: 40 make more than 20 chunks.")] = 40,
    av_ratio: Annotated[float | None, option(ADVANCED, "--av-ratio R", "Visual to audio budget.")] = None,
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Compare what settings of a policy keep with what its exact form keeps, after a long watch."""
    from omnimem_cli.bench.overlap import Overlap, bench_overlap
    from omnimem_cli.bench.tables import overlap_table

    _check(format)
    wanted = Overlap(_names(reference)[0], _names(policies), _shares(share)[0], videos, events, seed)
    settings = Settings(model=model, av_ratio=av_ratio, chunk=chunk, device=device, dtype=dtype)
    talk.configure(quiet=quiet)
    with talk.progress("bench overlap") as report:
        result = bench_overlap(_adapter(settings), wanted, settings, report)
    _print(result, overlap_table(result), format)


@app.command("fuzz", epilog=examples(["omnimem bench fuzz --seconds 60", "omnimem bench fuzz --cases 10000 --seed 7"]))
def fuzz(
    cases: Annotated[
        int | None, option(MODEL, "--cases N", "Damaged files to try; default: until the time is up.")
    ] = None,
    seconds: Annotated[float | None, option(MODEL, "--seconds S", "Time to spend: 60 unless --cases is given.")] = None,
    keep: Annotated[str | None, option(ADVANCED, "--keep FOLDER", "Where files that crash or hang are kept.")] = None,
    workers: Annotated[int, option(MODEL, "--workers N", "Processes that share the cases.", min=1)] = 1,
    seed: Seed = 0,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Probe and decode damaged mp4, mkv, wav and mp3 files; print what became of them. Exit code 1: a crash or hang."""
    from omnimem_cli.bench.fuzz import fuzz as run
    from omnimem_cli.bench.fuzz import fuzz_table, kept_folder

    _check(format)
    talk.configure(quiet=quiet)
    if cases is None and seconds is None:
        seconds = 60.0
    with kept_folder(keep) as folder, talk.progress("bench fuzz") as report:
        outcome = run(folder, cases=cases, seconds=seconds, seed=seed, workers=workers, report=report)
    _print(outcome.as_dict(), fuzz_table(outcome), format)
    if outcome.crashes or outcome.hangs:
        raise typer.Exit(1)


def _shares(text: str) -> list[str]:
    """Budgets as typed, each a fraction above 0 and at most 1. Raises UsageError."""
    shares = [share.strip() for share in text.split(",") if share.strip()]
    for share in shares:
        try:
            right = 0 < Fraction(share) <= 1
        except (ValueError, ZeroDivisionError):
            right = False
        if not right:
            raise UsageError(f"--budgets {share} is no share of the full memory.", "Write fractions: 1/4,1/8,1/16.")
    if not shares:
        raise UsageError("--budgets names none.", "Write fractions: 1/4,1/8,1/16.")
    return shares


def _check_plot(plot: str) -> None:
    """A file that this command did not write is not replaced. Raises UsageError."""
    from omnimem_cli.bench.plot import MARK

    if plot and Path(plot).exists() and MARK not in Path(plot).read_text("utf-8", errors="replace"):
        raise UsageError(f"{plot} exists and is no plot of this command.", "Name another file with --plot.")


def _write_plot(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.", "Name another file with --plot.") from error
    talk.note(f"plot: {path}")


def _adapter(settings: Settings) -> Any:
    from omnimem_cli.models.loader import load

    return load(settings.model, device=settings.device, dtype=settings.dtype, offline=True)


def _names(text: str) -> list[str]:
    """Policies as typed. Raises UsageError for one that cannot be made, before any work."""
    from omnimem_cli.memory.policies import make_policy

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--policies names none.", "Write, for example, --policies omnimem,full.")
    for name in names:
        make_policy(name)
    return names


def _check(format: str) -> None:
    if format not in ("table", "json"):
        raise UsageError(f"-f {format} is no format of bench.", "Use table or json.")


def _print(result: dict, text: str, format: str) -> None:
    """The table for people and, as the last line of stdout, the figures as one JSON object."""
    if format == "table":
        typer.echo(text + "\n")
    typer.echo(json.dumps(result))
