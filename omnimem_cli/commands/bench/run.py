"""``omnimem bench run``: public benchmarks, from the files that their authors publish."""

import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.flags import ADVANCED, INPUT, OUTPUT
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import BenchOptions, Policies, policy_names
from omnimem_cli.commands.completion import benchmarks, one_of
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes
from omnimem_cli.commands.run_task import offer_download, outcomes_of

if TYPE_CHECKING:
    from omnimem_cli.bench.public.answers import AnswersFile
    from omnimem_cli.bench.public.dataset import Answered
    from omnimem_cli.bench.public.watches import ClipBatch, ClipJob
    from omnimem_cli.jobs.outcomes import Outcome

EXAMPLES = (
    "omnimem bench run videomme-long --data ~/Video-MME -m qwen2.5-omni-7b --check",
    "omnimem bench run lvbench --data ~/LVBench -m qwen2.5-omni-7b --policies salience,omnimem --budget 8k -o lvbench/",
)
WATCH = (
    "model",
    "adapter",
    "device",
    "dtype",
    "offline",
    "budget",
    "plan",
    "av_ratio",
    "positions",
    "kv_bits",
    "chunk",
)
MEDIA = ("fps", "max_pixels", "stills", "decode", "hwaccel", "no_audio", "no_video")
RUN = ("max_tokens", "timeout_s", "force")
SHARED = ("workers", "ray", "yes", "progress", "log", "debug", "no_color")
DEFAULT_FPS = 1.0  # of the frames whose subtitles are shown


@takes(
    settings=Group(Settings, only=(*WATCH, *MEDIA, *RUN)),
    running=Group(RunOptions, only=SHARED),
    options=Group(BenchOptions),
)
def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=one_of(benchmarks),
            show_default=False,
            help="videomme, videomme-short, -medium, -long; lvbench, lvomnibench, worldsense, video-holmes, "
            "omnivideobench, jointavbench.",
        ),
    ],
    data: Annotated[Path, option(INPUT, "--data DIR", "The dataset as its authors publish it.", envvar=None)],
    policies: Policies = "salience",
    check: Annotated[bool, option(INPUT, "--check", "Only say what is missing, and what a run would take.")] = False,
    videos: Annotated[int | None, option(INPUT, "--videos N", "The first videos only.", envvar=None, min=1)] = None,
    subtitles: Annotated[
        bool, option(ADVANCED, "--subtitles", "Put the dataset's own subtitles into the prompts.", envvar=None)
    ] = False,
    output: Annotated[
        str | None,
        option(OUTPUT, "-o --output FOLDER", "Answers, scores, watches.", show_default="bench-NAME", envvar=None),
    ] = None,
    *,
    settings: Settings,
    running: RunOptions,
    options: BenchOptions,
) -> None:
    """Run a public benchmark whose videos you have: one watch per video and policy, all its questions, with resume.

    Nothing is downloaded but missing weights that you agree to. Run it again to go on where it stopped.
    """
    names = policy_names(policies)
    looks = {"progress": running.progress, "log": running.log, "no_color": running.no_color}
    console.configure(quiet=options.quiet, debug=running.debug or console.debug, **looks)
    from omnimem_cli.bench.public.library import clips_of, dataset
    from omnimem_cli.bench.public.watches import batch_of, jobs_of

    one = dataset(name)
    if subtitles and not one.has_subtitles:
        raise UsageError(f"{name} comes without subtitles.", "Drop --subtitles.")
    clips = clips_of(one, data, (settings.fps or DEFAULT_FPS) if subtitles else None, videos)
    if check:
        return _check(name, clips, names, settings, options)
    out = Path(output or f"bench-{name}")
    batch = batch_of(one, replace(settings, output=str(out)))
    batch.model.check_name()
    offer_download(batch.model, running)
    jobs = jobs_of(clips, names, out)
    from omnimem_cli.bench.public.answers import AnswersFile, all_answered, answered
    from omnimem_cli.bench.public.report import figures, write_files
    from omnimem_cli.bench.public.tables import run_table
    from omnimem_cli.jobs.files import make_folder

    make_folder(out)
    by_name = {clip.name: clip for clip in clips}
    file = AnswersFile(out)
    ended = _watch(
        batch,
        jobs,
        running,
        file,
        lambda job, outcome: list(answered(one, by_name[job.target.name], job.policy, outcome)),
    )
    everything = all_answered(one, clips, jobs, ended)
    file.finish(everything)
    result = figures(one, everything, jobs, ended, batch.model.row, batch.work.settings, subtitles)
    table = run_table(result)
    for path in [file.path, *write_files(one, everything, result, table, out)]:
        console.info(f"wrote {path}", "dim")
    options.show(result, table)
    raise typer.Exit(_code(ended.values()))


def _check(name: str, clips: list, policies: list[str], settings: Settings, options: BenchOptions) -> None:
    from omnimem_cli.bench.public.check import check
    from omnimem_cli.bench.public.tables import check_table

    with console.progress(f"check {name}") as report:
        result = {"name": name, **check(clips, len(policies), settings, report)}
    options.show(result, check_table(result))
    faults = len(result["missing"]) + len(result["unreadable"])
    raise typer.Exit(0 if not faults else 3 if result["present"] else 4)


def _watch(
    batch: "ClipBatch",
    jobs: "list[ClipJob]",
    running: RunOptions,
    file: "AnswersFile",
    of: "Callable[[ClipJob, Outcome], list[Answered]]",
) -> "dict[str, Outcome]":
    """Every job's outcome by its key; the answers of each watch are in the file when it ends. Exits when stopped."""
    from omnimem_cli.base.process import Interrupted, stop_signals
    from omnimem_cli.jobs.outcomes import strip_traceback

    by_key, ended = {job.key: job for job in jobs}, {}
    with stop_signals(signal.SIGINT, signal.SIGTERM), console.batch(len(jobs)):
        try:
            for outcome in outcomes_of(batch, jobs, running):
                console.one_done()
                if isinstance(outcome.error, MissingError | UsageError | Interrupted):
                    continue  # it is raised next
                _tell(by_key[outcome.key], outcome)
                ended[outcome.key] = replace(outcome, error=strip_traceback(outcome.error))
                if outcome.error is None and outcome.result is not None:
                    file.append(of(by_key[outcome.key], outcome))
        except Interrupted as stopped:
            console.info(f"stopped after {len(ended)} of {len(jobs)} watches; run the same command again to go on")
            raise typer.Exit(stopped.exit_code) from None
    return ended


def _tell(job: "ClipJob", outcome: "Outcome") -> None:
    name = str(job.input.relative)
    if outcome.error is not None:
        console.error(outcome.error, name)
    elif outcome.status == "skipped":
        console.info(f"{name}: skipped, {outcome.reason}", "dim")


def _code(outcomes: "Iterable[Outcome]") -> int:
    from omnimem_cli.jobs.outcomes import exit_code

    return exit_code(list(outcomes), strict=False)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("run", epilog=examples(EXAMPLES))(run)
