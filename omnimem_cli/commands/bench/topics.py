"""``omnimem bench topics``: how near chapters end to the true changes of topic."""

from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import EVALUATION_SEED, BenchOptions, Seed, bench_settings, load_model
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench topics", "omnimem bench topics --videos 1 --chapter-length 60")


@takes(settings=bench_settings(), options=Group(BenchOptions))
def topics(
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.", min=1, envvar=None)] = 3,
    topics: Annotated[int, option(MODEL, "--topics N", "Topics of each video.", min=2, envvar=None)] = 21,
    chapter_length: Annotated[
        float, option(MODEL, "--chapter-length SECONDS", "Target length of a chapter.", min=1, envvar=None)
    ] = 70.0,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Say how far chapters, by topic and by the clock, end from the changes of topic of generated videos."""
    from omnimem_cli.bench.tables import topics_table
    from omnimem_cli.bench.topics import TopicBench, bench_topics

    wanted, adapter = TopicBench(videos, topics, seed, chapter_length), load_model(settings)
    options.measure("topics", lambda report: bench_topics(adapter, wanted, settings, report), topics_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("topics", epilog=examples(EXAMPLES))(topics)
