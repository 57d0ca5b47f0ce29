"""An index that is up to date, whole, private and fast."""

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from searching import MEETING, hits, search, texts, transcript, write

from omnimem_cli.base.errors import MissingError
from omnimem_cli.results import result as results
from omnimem_cli.results.search import index
from omnimem_cli.results.search.index import search_folder
from omnimem_cli.results.search.query import parse_query


def test_changed_new_and_removed_files_are_noticed(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "_delete", lambda path: pytest.fail("the index was built again"))
    path = root / "meeting.transcript.json"
    assert texts(root, "budget 2027")
    write(path, transcript((0.0, 1.0, "Nothing of the kind.")))
    assert not texts(root, "budget 2027") and texts(root, "nothing kind")
    same_size = path.read_text("utf-8").replace("Nothing", "Somehow")
    status = path.stat()
    path.write_text(same_size, "utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert path.stat().st_size == status.st_size
    assert not texts(root, "nothing kind") and texts(root, "somehow kind")
    write(root / "deep" / "er" / "new.json", transcript(*MEETING))
    assert texts(root, "budget 2027")
    path.unlink()
    (root / "deep").rename(root.parent / "elsewhere")
    assert search(root, "kind").total == search(root, "budget").total == search(root, "予算").total == 0


def test_files_that_have_not_changed_are_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch):
    assert texts(root, "budget 2027")
    monkeypatch.setattr(index, "read_documents", lambda path: pytest.fail(f"{path} was read again"))
    assert texts(root, "budget 2027")


def test_only_the_folder_itself_is_searched_whatever_way_it_is_named(root: Path, monkeypatch: pytest.MonkeyPatch):
    write(root.parent / "other" / "a.json", transcript(*MEETING))
    assert len(hits(root, "budget 2027")) == 1
    (root.parent / "link").symlink_to(root)
    monkeypatch.chdir(root)
    for name in (str(root.parent / "link"), ".", "../lib", f"{root}/"):
        (match,) = search_folder(name, parse_query("budget 2027"), None, root.parent / "cache").matches
        assert match.file == str(Path(name) / "meeting.transcript.json")
    assert len(list((root.parent / "cache").iterdir())) == 1


def test_loops_of_links_and_broken_links_end(root: Path):
    (root / "loop").symlink_to(root)
    (root / "a").mkdir()
    (root / "a" / "up").symlink_to("..")
    (root / "gone.json").symlink_to("nowhere.json")
    (root / "self.json").symlink_to("self.json")
    (root / "copy.json").symlink_to("meeting.transcript.json")
    assert {Path(hit.file).name for hit in hits(root, "budget 2027")} == {"meeting.transcript.json", "copy.json"}


def test_hidden_folders_are_left_out(root: Path):
    write(root / ".omnimem" / "meeting.transcript.json", transcript(*MEETING))
    assert len(hits(root, "budget 2027")) == 1


def test_names_of_any_bytes_are_found(tmp_path: Path):
    root = tmp_path / "lib"
    name = os.fsdecode(b"caf\xe9 \n'1.transcript.json")
    write(root / name, transcript(*MEETING))
    for _ in range(2):
        assert [Path(hit.file).name for hit in hits(root, "budget 2027")] == [name]


def test_the_index_is_for_its_user_alone_and_not_in_the_folder(root: Path):
    before = sorted(root.rglob("*"))
    old = os.umask(0)
    try:
        search(root, "budget")
    finally:
        os.umask(old)
    (file,) = (root.parent / "cache").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("damage", ["empty", "noise", "header", "middle", "version", "foreign", "folder"])
def test_a_damaged_index_is_built_again(root: Path, damage: str, monkeypatch: pytest.MonkeyPatch):
    write(root / "more.json", transcript(*((float(n), n + 1.0, f"word{n} " * 30) for n in range(300))))
    assert len(hits(root, "budget 2027")) == 1
    (file,) = (root.parent / "cache").iterdir()
    data = file.read_bytes()
    if damage in ("version", "foreign"):
        file.unlink() if damage == "foreign" else None
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA user_version = 99" if damage == "version" else "CREATE TABLE words (x)")
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        broken = {"empty": b"", "noise": b"noise" * 999, "header": b"x" * 50 + data[50:]}
        middle = data[:4096] + bytes(len(data) // 2) + data[4096 + len(data) // 2 :]
        file.write_bytes(broken.get(damage, middle))
    assert len(hits(root, "budget 2027")) == 1
    if damage != "folder":  # which cannot be removed: the index is in memory
        monkeypatch.setattr(index, "read_documents", lambda path: pytest.fail(f"{path} was read again"))
    assert len(hits(root, "budget 2027")) == 1


def test_without_a_cache_that_can_be_written_the_search_is_done_in_memory(root: Path):
    (root.parent / "cache").write_text("a file")
    assert len(hits(root, "budget 2027")) == 1


def test_a_sqlite_without_trigrams_is_a_missing_part_of_the_machine(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "_TABLES", "CREATE VIRTUAL TABLE t USING fts9 (x);\n")
    with pytest.raises(MissingError):
        search(root, "budget")


def test_processes_that_search_a_new_folder_at_the_same_time_all_find(root: Path):
    for number in range(60):
        write(root / f"m{number}.json", transcript(*MEETING))
    script = (
        "import sys; from pathlib import Path; from omnimem_cli.results.search.index import search_folder;"
        "from omnimem_cli.results.search.query import parse_query;"
        "print(search_folder(sys.argv[1], parse_query('budget 2027'), None, Path(sys.argv[2])).total)"
    )
    arguments = [sys.executable, "-c", script, str(root), str(root.parent / "cache")]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["61\n"] * 4


def test_a_hit_is_an_object_of_its_schema(root: Path):
    schema = results.schema("hit-1")
    jsonschema.Draft202012Validator.check_schema(schema)
    for hit in hits(root, "budget") + hits(root, "lecture"):
        jsonschema.validate(json.loads(json.dumps(hit.as_dict())), schema)
    assert set(schema["required"]) == set(schema["properties"]) == set(hits(root, "budget")[0].as_dict())


def test_five_thousand_results_are_indexed_and_searched_in_time(tmp_path: Path):
    """Right hits among 5,000 results of 10 segments; the limits of time leave room for a busy machine."""
    root, rng = tmp_path / "lib", random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(4000)]
    head = json.dumps({"schema": "omnimem/result/1", "input": {"path": "talk.mp4"}, "task": "transcribe"})[:-1]
    for number in range(5000):
        said = [" ".join(rng.choices(vocabulary, k=20)) + "." for _ in range(10)]
        if number % 97 == 0:
            said[7] += f" The budget of 2027 is case {number}."
        if number % 500 == 0:
            said[3] = "来年の予算は未定です。"
        segments = [{"start_s": n * 30.0, "end_s": n * 30.0 + 30, "text": text} for n, text in enumerate(said)]
        folder = root / f"{number // 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_text(f'{head}, "transcript": {json.dumps({"segments": segments})}}}')
    began = time.perf_counter()
    search(root, "budget")
    built = time.perf_counter() - began
    expected = {f"The budget of 2027 is case {number}." for number in range(0, 5000, 97)}
    spent = []
    for query in ("budget 2027", '"budget of 2027"', "case"):
        began = time.perf_counter()
        found = hits(root, query)
        spent.append(time.perf_counter() - began)
        assert {hit.text for hit in found} == expected and len(found) == len(expected)
        assert {hit.start_s for hit in found} == {210.0}
    assert len(texts(root, "予算")) == len(texts(root, "予算は未定")) == 10
    assert search(root, vocabulary[0], limit=50).total > 100
    print(f"built in {built:.2f} s, searched in {', '.join(f'{one:.3f}' for one in spent)} s")
    assert built < 30 and min(spent) < 0.3
