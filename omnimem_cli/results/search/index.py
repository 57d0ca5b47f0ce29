"""The index of one folder: a SQLite database with the passages of all results below it.

Knows folders, files and SQL; knows no format of a result. A search brings the index up to date first: the files of a
result are read again when a size or a time has changed. The database is in the user's cache folder, readable by the
user alone, and can be deleted at any time. A database that is damaged or of another version is built again; where none
can be written, it is built in memory.
"""

import hashlib
import os
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from omnimem_cli.base.errors import MissingError
from omnimem_cli.results.search.folding import fold, is_spaceless, words
from omnimem_cli.results.search.passages import Passage
from omnimem_cli.results.search.query import Term
from omnimem_cli.results.search.readers import READERS, BrokenFileError, Document, NotAResultError, read_documents

VERSION = 1  # of the tables and of how texts are read and folded
WAIT_S = 0.5  # for another search, before Ctrl-C is heard and the wait goes on
_TABLES = f"""
CREATE TABLE results (id INTEGER PRIMARY KEY, name BLOB UNIQUE, files TEXT, broken BLOB, problem TEXT);
CREATE TABLE passages (id INTEGER PRIMARY KEY, result INTEGER, file BLOB, source TEXT, part TEXT, start_s REAL,
                       end_s REAL, text TEXT);
CREATE INDEX passages_of_a_result ON passages (result);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = "unicode61 remove_diacritics 0 categories 'L* N* M* Co'");
CREATE VIRTUAL TABLE trigrams USING fts5 (text, tokenize = 'trigram case_sensitive 1');
PRAGMA user_version = {VERSION};
"""
_CANDIDATES = {
    "words": "SELECT rowid AS id, rank FROM words WHERE words MATCH ?",
    "trigram": "SELECT rowid AS id, rank FROM trigrams WHERE trigrams MATCH ?",
    "short": "SELECT rowid AS id, 0.0 AS rank FROM trigrams WHERE instr(text, ?) > 0",
    "symbol": "SELECT id, 0.0 AS rank FROM passages WHERE instr(fold(text), ?) > 0",
}
"""The passages with a term, by the kind of the term. A lower rank is a better match."""

Files = dict[str, tuple[int, int]]
"""Files of one result: size and time (``mtime_ns``) by path."""


@dataclass(frozen=True)
class Match:
    """A passage that holds all terms, ``file`` with its folder as typed. A higher ``score`` is better."""

    file: str
    source: str
    passage: Passage
    score: float

    @property
    def order(self) -> tuple:
        """Its place among matches: by relevance, then by file and time."""
        return -self.score, self.file, self.passage.start_s or 0.0


@dataclass
class Findings:
    """Matches, the best first, at most as many as wanted of ``total``; ``broken``: files that could not be read, and
    why; ``foreign``: how many files that are no results were met for the first time."""

    matches: list[Match] = field(default_factory=list)
    total: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    foreign: int = 0


def search_folder(
    root: str, terms: Sequence[Term], limit: int | None, cache: Path, on_build: Callable[[int], None] = lambda n: None
) -> Findings:
    """Search below a folder; ``on_build(count)`` is called before so many files are read.

    Raises MissingError where SQLite has no FTS5 with trigrams.
    """
    path = cache / f"{hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:24]}.db"
    for attempt in (path, path, None):
        try:
            with closing(_connect(attempt)) as database:
                return _search(database, root, terms, limit, on_build)
        except (sqlite3.DatabaseError, OSError):
            if attempt is None:
                raise
            _delete(path)  # another process that has it open goes on with what it has
    raise AssertionError("the last attempt returns or raises")


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _connect(path: Path | None) -> sqlite3.Connection:
    """The database at ``path``, made with mode 0600 where there is none; in memory without a path."""
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path or ":memory:", timeout=WAIT_S, isolation_level=None)
    database.create_function("fold", 1, fold, deterministic=True)
    return database


def _search(
    database: sqlite3.Connection, root: str, terms: Sequence[Term], limit: int | None, on_build: Callable[[int], None]
) -> Findings:
    """Update and query in one transaction: two searches of a folder come one after the other."""
    _begin(database)
    _create_tables(database)
    findings = _update(database, root, on_build)
    for file, source, part, start_s, end_s, text, rank, findings.total in _query(database, terms, limit):
        found = Passage(part, text, start_s, end_s)
        findings.matches.append(Match(_below(root, file), source, found, round(-rank, 6)))
    database.execute("COMMIT")
    return findings


def _begin(database: sqlite3.Connection) -> None:
    while True:
        try:
            database.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise


def _create_tables(database: sqlite3.Connection) -> None:
    """Make the tables of a new database. Raises DatabaseError for one of another version."""
    ((version,),) = database.execute("PRAGMA user_version")
    if version == VERSION:
        return
    if version or list(database.execute("SELECT 1 FROM sqlite_master")):
        raise sqlite3.DatabaseError("another version")
    try:
        for statement in _TABLES.split(";\n"):
            database.execute(statement)
    except sqlite3.OperationalError as error:
        if "no such" not in str(error) and "tokenizer" not in str(error):
            raise
        message = f"SQLite {sqlite3.sqlite_version} of this Python has no full-text search with trigrams."
        raise MissingError(message, "Use a Python whose SQLite is 3.34 or later, with FTS5.") from error


# Files to passages


def result_files(root: str, on_error: Callable[[OSError], None]) -> dict[str, Files]:
    """The files below a folder that may hold results, by the result that they are formats of.

    Hidden files and folders are left out, and links to folders are not followed. ``on_error`` gets what a folder that
    cannot be listed raises.
    """
    found: dict[str, Files] = defaultdict(dict)
    for name, entry in _walk(root, on_error):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a path object each is slow for thousands)
        if suffix.lower() in READERS:
            with suppress(OSError):  # a broken link, or gone since
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    found[_result_name(stem, suffix.lower())][name] = (status.st_size, status.st_mtime_ns)
    return found


def _walk(root: str, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, os.DirEntry]]:
    """(Path below ``root``, entry) of every file."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}{entry.name}/")
                    else:
                        yield folder + entry.name, entry
        except OSError as error:
            on_error(error)


def _result_name(stem: str, suffix: str) -> str:
    """``talks/lecture.transcript`` for all files of that result, lecture.srt included; chapters are of a summary."""
    if suffix == ".vtt" and stem.endswith(".chapters"):
        return stem.removesuffix("chapters") + "summary"
    ending = {".srt": ".transcript", ".vtt": ".transcript", ".jsonl": ".jsonl"}.get(suffix, "")
    return stem.removesuffix(ending) + ending


def _update(database: sqlite3.Connection, root: str, on_build: Callable[[int], None]) -> Findings:
    """Bring the index up to date; the findings say what could not be read."""
    findings = Findings()
    found = result_files(root, lambda error: findings.broken.update({error.filename: _cannot_list(error)}))
    known = {os.fsdecode(name): files for name, files in database.execute("SELECT name, files FROM results")}
    stale = sorted(name for name in found if known.get(name) != _signature(found[name]))
    for name in [*(known.keys() - found.keys()), *(known.keys() & stale)]:
        _remove(database, os.fsencode(name))
    if stale:
        on_build(sum(len(found[name]) for name in stale))
    for name in stale:
        findings.foreign += _add(database, root, name, found[name])
    broken = database.execute("SELECT broken, problem FROM results WHERE problem IS NOT NULL ORDER BY broken")
    findings.broken.update({_below(root, file): problem for file, problem in broken})
    return findings


def _cannot_list(error: OSError) -> str:
    return f"the folder cannot be listed: {error.strerror}"


def _signature(files: Files) -> str:
    return ascii(sorted(files.items()))


def _remove(database: sqlite3.Connection, name: bytes) -> None:
    passages = "SELECT passages.id FROM passages JOIN results ON results.id = result WHERE name = ?"
    for table, key in (("words", "rowid"), ("trigrams", "rowid"), ("passages", "id")):
        database.execute(f"DELETE FROM {table} WHERE {key} IN ({passages})", (name,))
    database.execute("DELETE FROM results WHERE name = ?", (name,))


def _add(database: sqlite3.Connection, root: str, name: str, files: Files) -> int:
    """Read a result from the first of its files that can be, and insert it; the number of foreign files met."""
    foreign, broken, problem = 0, None, None
    result = database.execute("INSERT INTO results (name, files) VALUES (?, ?)", (os.fsencode(name), _signature(files)))
    suffixes = list(READERS)
    for file in sorted(files, key=lambda file: suffixes.index(os.path.splitext(file)[1].lower())):  # noqa: PTH122
        try:
            documents = read_documents(f"{root}/{file}")
        except NotAResultError:
            foreign += 1
        except BrokenFileError as error:
            broken, problem = os.fsencode(file), str(error)
        else:
            _insert(database, result.lastrowid, os.fsencode(file), documents)
            break
    database.execute("UPDATE results SET broken = ?, problem = ? WHERE id = ?", (broken, problem, result.lastrowid))
    return foreign


def _insert(database: sqlite3.Connection, result: int, file: bytes, documents: Iterable[Document]) -> None:
    ((first,),) = database.execute("SELECT 1 + coalesce(max(id), 0) FROM passages")
    said = [(one, document.source) for document in documents for one in document.passages]
    folded = [fold(one.text) for one, _ in said]
    database.executemany(
        "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (number, result, file, source, one.part, one.start_s, one.end_s, one.text)
            for number, (one, source) in enumerate(said, first)
        ),
    )
    database.executemany(
        "INSERT INTO words (rowid, text) VALUES (?, ?)", ((n, words(text)) for n, text in enumerate(folded, first))
    )
    database.executemany(
        "INSERT INTO trigrams (rowid, text) VALUES (?, ?)",
        ((number, text) for number, text in enumerate(folded, first) if is_spaceless(text)),
    )


# A query to passages


def _query(database: sqlite3.Connection, terms: Sequence[Term], limit: int | None) -> Iterator[tuple]:
    """Rows of passages that hold all terms, the best match first, then by file and time."""
    parts = [(_CANDIDATES[kind], expression) for kind, expression in _conditions(terms)]
    candidates = " UNION ALL ".join(f"SELECT * FROM ({sql})" for sql, _ in parts)
    return database.execute(
        f"""
        WITH found AS (SELECT id, sum(rank) AS rank FROM ({candidates}) GROUP BY id HAVING count(*) = {len(parts)})
        SELECT file, source, part, start_s, end_s, text, rank, count(*) OVER ()
        FROM found JOIN passages USING (id) ORDER BY round(rank, 6), file, start_s, id LIMIT ?
        """,
        (*(expression for _, expression in parts), -1 if limit is None else limit),
    )


def _conditions(terms: Sequence[Term]) -> Iterator[tuple[str, str]]:
    """(Kind, expression): one for all terms that FTS5 finds in the same table, one for each of the others."""
    for kind in ("words", "trigram"):
        if expressions := [term.expression for term in terms if term.kind == kind]:
            yield kind, " AND ".join(expressions)
    yield from ((term.kind, term.text) for term in terms if term.kind in ("short", "symbol"))


def _below(root: str, file: bytes) -> str:
    """The path of a file as the user would type it."""
    return str(Path(root) / os.fsdecode(file))
