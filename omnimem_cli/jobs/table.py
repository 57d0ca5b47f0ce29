"""The one CSV file of answers over a whole batch: written at the end, in the order of the inputs.

Knows outcomes, records and the table's format; runs nothing. The answers themselves are in the record of each input, so
that an input that was done before is in the table too.
"""

from collections.abc import Sequence
from pathlib import Path

from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs import records
from omnimem_cli.jobs.files import locked, make_folder
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.targets import Target
from omnimem_cli.jobs.work import Job, Work
from omnimem_cli.results.writers.csv import Row, answer_rows, columns_of, ended_row, write_table


def rows_of(outcome: Outcome) -> list[Row]:
    """The rows of one input: its answers, or why there are none."""
    result = outcome.result
    if result is not None and outcome.error is None:
        return list(answer_rows(result))
    why = outcome.reason if outcome.error is None else result["error"]["message"]
    return [ended_row(readable_path(outcome.path), outcome.status, why)]


def columns(work: Work) -> list[str]:
    """Those of a table of the answers to all questions of a run."""
    return columns_of(work.made_with["options"]["questions"])


class AnswerTable:
    """The table of a run: `note` each outcome, then `write`. Raises OutputError for a file that is not omnimem's."""

    def __init__(self, file: Path, work: Work, jobs: Sequence[Job]):
        self.target = Target(file.parent, file.name, {"csv": file.name})
        self.work, self.file = work, file
        self._order = {job.input.path: number for number, job in enumerate(jobs)}
        self._rows: dict[int, list[Row]] = {}
        self._check()

    def _check(self) -> None:
        record, path = records.read_record(self.target), self.file
        if self.work.settings.force or not path.exists() or (record is not None and record.wrote(path)):
            return
        hint = "Name another file with -o: what is answered is not asked again. --force asks all of it again."
        raise OutputError(f"{path} exists, and omnimem did not write what it holds.", hint)

    def note(self, outcome: Outcome) -> None:
        """Take the rows of an input that has ended."""
        if outcome.status != "interrupted":
            self._rows[self._order[outcome.path]] = rows_of(outcome)

    @property
    def whole(self) -> bool:
        """Whether every input has ended."""
        return len(self._rows) == len(self._order)

    def write(self) -> Path:
        """Write the file in one step; returns it. Raises OutputError."""
        rows = [row for _, each in sorted(self._rows.items()) for row in each]
        content = write_table(columns(self.work), rows).encode("utf-8", "backslashreplace")
        before = records.read_record(self.target)
        record = records.Record("", records.Content(None, None, None), {"task": "table"}, {})
        record.files = dict(before.files) if before else {}
        make_folder(self.target.folder)
        with locked(self.target.folder, self.target.name) as mine:
            if not mine:
                raise OutputError(f"Another omnimem writes {self.file}.", "Run it again, or use -o.")
            records.publish(self.target, record, {"csv": content})
        return self.file
