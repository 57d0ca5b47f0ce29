"""Writes a benchmark's table into a Markdown file, so that no figure is typed. Knows files and text, no benchmark."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from omnimem_cli.bench.machine import machine

BEGIN, END = "<!-- recorded: {} -->", "<!-- end of record -->"


def record(file: Path, command: str, tables: str) -> None:
    """Put the tables under their command, in place of what the same command recorded before, else at the file's end.

    Beside them: the commit, the day and what it ran on. Raises OSError.
    """
    begin = BEGIN.format(command.replace("--", "- -"))  # no comment of HTML may hold two dashes
    block = f"{begin}\n{_origin()}\n\n```bash\n{command}\n```\n\n```\n{tables.rstrip()}\n```\n{END}"
    text = file.read_text("utf-8") if file.exists() else ""
    old = re.compile(re.escape(begin) + ".*?" + re.escape(END), re.DOTALL)
    text, found = old.subn(lambda _: block, text, count=1)
    file.write_text(text if found else f"{text.rstrip()}\n\n{block}\n".lstrip(), "utf-8")


def _origin() -> str:
    at = machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    software = ", ".join(f"{name} {at[name]}" for name in ("torch", "transformers"))
    return f"Commit {_commit()}, {datetime.now(UTC).date()}; {at['device_name']}, Python {at['python']}, {software}."


def _commit() -> str:
    """The commit that the package's code is at, "changed after" one, or "unknown" outside of a repository."""
    folder = Path(__file__).parent
    try:
        name = _git(folder, "rev-parse", "--short", "HEAD")
        return f"{name}, changed after it" if _git(folder, "status", "--porcelain", "--", ".") else name
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
