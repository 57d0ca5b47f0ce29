"""``omnimem transcribe``: options to a task."""

import typer

from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import Group, Inputs, RunOptions, examples, takes

EXAMPLES = (
    "omnimem transcribe interview.mp4 -f srt,md",
    "omnimem transcribe recordings/ -r -f vtt -o subtitles/",
    "omnimem transcribe film.mkv --audio-track jpn -o - -f txt",
)


@takes(
    settings=Group(Settings, without=("language", "look_again", "look_span_s", "notes")),
    options=Group(RunOptions),
    config=True,
)
def transcribe(inputs: Inputs = None, *, settings: Settings, options: RunOptions) -> None:
    """Write down what is said, with times: interview.mp4 gives interview.transcript.md."""
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.transcribe import Transcribe

    run_task(inputs, settings, options, "transcribe", Transcribe, {})


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("transcribe", epilog=examples(EXAMPLES))(transcribe)
