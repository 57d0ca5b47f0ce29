"""``omnimem bench``: how much memory, accuracy and time a policy takes, on generated videos and public benchmarks."""

import typer

from omnimem_cli.commands.bench import (
    answers,
    evidence,
    fuzz,
    live,
    memory,
    needle,
    overlap,
    recall,
    run,
    speed,
    text_bits,
    topics,
    transcript,
)

app = typer.Typer(help="Measure policies: accuracy, speed, memory.", no_args_is_help=True)
COMMANDS = (run, memory, needle, recall, evidence, speed, answers, transcript, topics, overlap, live, fuzz, text_bits)
for command in COMMANDS:
    command.register(app)
