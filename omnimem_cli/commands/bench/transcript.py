"""``omnimem bench transcript``: how long the transcript of a long generated video takes."""

from typing import Annotated

import typer

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import BenchOptions, RandomWeights, bench_settings, load_model, random_model
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = (
    "omnimem bench transcript --minutes 5",
    "omnimem bench transcript -m qwen2.5-omni-7b --random-weights --limit 60 --max-tokens 150",
)


@takes(settings=bench_settings("budget", "max_pixels", "max_tokens"), options=Group(BenchOptions))
def transcript(
    minutes: Annotated[float, option(MODEL, "--minutes M", "Length of the generated video.")] = 60.0,
    limit: Annotated[
        float | None, option(MODEL, "--limit SECONDS", "Stop after so many seconds and estimate the whole from them.")
    ] = None,
    random_weights: RandomWeights = False,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Time the transcript of a long 640x360 video file, from its decoding to the last word, by stage."""
    if minutes <= 0:
        raise UsageError("There is nothing to time.", "Give --minutes above 0.")
    from omnimem_cli.bench.tables import transcript_table
    from omnimem_cli.bench.transcript_rate import bench_transcript

    adapter = random_model(settings) if random_weights else load_model(settings)
    options.measure(
        "transcript", lambda report: bench_transcript(adapter, minutes, limit, settings, report), transcript_table
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("transcript", epilog=examples(EXAMPLES))(transcript)
