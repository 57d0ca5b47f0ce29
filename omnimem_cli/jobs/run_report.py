"""The account of a run for --report: a JSON file that is whole at every moment, from before the first input on.

Knows outcomes and the work of a run; runs nothing. A process that dies leaves the account of what had ended until
then, with no ``exit_code`` in it.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.timecode import utc_now
from omnimem_cli.jobs.files import write_whole
from omnimem_cli.jobs.outcomes import Outcome, count_by_status
from omnimem_cli.jobs.work import Work
from omnimem_cli.results.result import error_part
from omnimem_cli.results.writers.json import write_json

SCHEMA = "omnimem/report/1"
REST = 20  # writing takes at most one part in so many of the time, however many inputs there are


class RunReport:
    """One run of a ``work`` over ``total`` inputs, written to ``file`` now and then as outcomes come."""

    def __init__(self, file: Path, work: Work, total: int):
        self.file, self.work, self.total = file, work, total
        self.began, self.began_at = time.monotonic(), utc_now()
        self.model: dict = {"name": work.settings.model}  # as results name it, once one does
        self.inputs: list[dict] = []
        self._due = 0.0
        self._write()

    def note(self, outcome: Outcome) -> None:
        """Take an outcome; a disk that is full now is said at the end."""
        self.inputs.append(_line(outcome))
        self.model = (outcome.result or {}).get("model") or self.model
        if time.monotonic() >= self._due:
            with suppress(OutputError):
                self._write()

    def close(self, exit_code: int) -> None:
        """The run has ended. Raises OutputError."""
        self._write(exit_code)

    def _write(self, exit_code: int | None = None) -> None:
        began = time.monotonic()
        write_whole(self.file, write_json(self._content(exit_code)).encode("utf-8"))
        self._due = time.monotonic() + REST * (time.monotonic() - began)

    def _content(self, exit_code: int | None) -> dict:
        made, counts = self.work.made_with, count_by_status([line["status"] for line in self.inputs])
        return {
            "schema": SCHEMA,
            "task": self.work.name,
            "omnimem": made["omnimem"],
            "started_at": self.began_at,
            "ended_at": None if exit_code is None else utc_now(),
            "exit_code": exit_code,
            "wall_s": round(time.monotonic() - self.began, 3),
            "model": self.model,
            "settings": made["settings"],
            "options": made["options"],
            "counts": counts | {"not_reached": self.total - len(self.inputs)},
            "inputs": self.inputs,
        }


def check_report(file: Path, force: bool) -> None:
    """A file that is no report of omnimem is not overwritten unasked. Raises OutputError."""
    if force or not file.exists():
        return
    try:
        ours = json.loads(file.read_text("utf-8")).get("schema") == SCHEMA
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise OutputError(f"{file} exists and is no report of omnimem.", "Name another file, or add --force.")


def _line(outcome: Outcome) -> dict:
    result = outcome.result or {}
    return {
        "path": readable_path(outcome.path),
        "status": outcome.status,
        "reason": outcome.reason or None,
        "error": error_part(outcome.error) if outcome.error else None,
        "files": [readable_path(str(file)) for file in outcome.files],
        "coverage": result.get("coverage"),
        "warnings": result.get("warnings", []),
        "wall_s": round(outcome.wall_s, 3),
    }
