"""Watch once, ask later: the commands around memory files, as users type them."""

import json
import shutil
from pathlib import Path

import footage
import pytest

import omnimem_cli
from omnimem_cli import app

DEMO = Path(omnimem_cli.__file__).parent / "world" / "demo.mp4"


def omnimem(*arguments: object) -> int:
    return app.run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one watch made a memory, a summary, chapters, a transcript and answers."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copy(DEMO, folder / "talk.mp4")
    made = ("--with", "summary,chapters", "--with", "transcript", "-Q", "What was shown?", "-f", "json,md,srt")
    assert omnimem("watch", folder / "talk.mp4", "-m", "nano", "-q", *made) == 0
    return folder


@pytest.fixture
def here(watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the memory, and no video."""
    shutil.copy(watched / "talk.omnimem", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(path: Path) -> dict:
    return json.loads(path.read_text())


def test_one_watch_writes_every_result_and_the_memory(watched):
    texts = {"summary.md", "summary.json", "chapters.md", "chapters.json", "transcript.md", "transcript.json"}
    names = {f"talk.{ending}" for ending in texts | {"answers.md", "answers.json", "srt", "omnimem", "mp4"}}
    assert {path.name for path in watched.iterdir() if path.name != ".omnimem"} == names


def test_a_question_to_the_memory_has_the_answer_of_the_watch(watched, here, capsys):
    assert omnimem("ask", "talk.omnimem", "-Q", "What was shown?", "-f", "json", "-q") == 0
    asked, before = result(here / "talk.answers.json"), result(watched / "talk.answers.json")
    assert asked["answers"] == before["answers"]
    assert asked["input"]["path"] == "talk.omnimem" and asked["input"]["watched"].endswith("talk.mp4")
    assert asked["coverage"] == before["coverage"] and asked["timing"]["prefill_s"] == 0


def test_the_transcript_and_the_chapters_that_were_taken_come_from_the_memory(watched, here):
    assert omnimem("transcribe", "talk.omnimem", "-f", "json", "-q") == 0
    assert omnimem("summarize", "talk.omnimem", "--style", "chapters", "-f", "json", "-q") == 0
    assert result(here / "talk.transcript.json")["transcript"] == result(watched / "talk.transcript.json")["transcript"]
    assert result(here / "talk.summary.json")["summary"] == result(watched / "talk.chapters.json")["summary"]


def test_what_was_not_taken_is_said(here, tmp_path, capsys):
    shutil.copy(DEMO, "bare.mp4")
    assert omnimem("watch", "bare.mp4", "-m", "nano", "-q") == 0
    assert omnimem("transcribe", "bare.omnimem", "-q") == 4
    assert "--with transcript" in capsys.readouterr().err
    assert omnimem("summarize", "bare.omnimem", "--style", "detailed", "-f", "json", "-q") == 0
    codes = [note["code"] for note in result(tmp_path / "bare.summary.json")["warnings"]]
    assert "notes_late" in codes


def test_keep_memory_keeps_the_memory_of_any_task(here):
    shutil.copy(DEMO, "other.mp4")
    assert omnimem("summarize", "other.mp4", "-m", "nano", "--keep-memory", "-q", "-o", "out") == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [".omnimem", "other.omnimem", "other.summary.md"]


def test_with_the_result_on_stdout_the_memory_comes_to_the_current_folder(here, capsys):
    for _ in range(2):
        assert omnimem("demo") == 0
        assert "demo.omnimem" in capsys.readouterr().err
    assert omnimem("ask", "demo.omnimem", "-Q", "What was shown?", "-o", "-", "-q") == 0
    assert json.loads(capsys.readouterr().out)["answers"][0]["answer"]
    Path("demo.omnimem").write_text("mine")
    assert omnimem("demo") == 8
    assert Path("demo.omnimem").read_text() == "mine"


def test_a_watch_is_not_done_again_unless_its_memory_is_gone(watched, tmp_path, monkeypatch, capsys):
    shutil.copytree(watched, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path)
    again = ("watch", "talk.mp4", "-m", "nano", "--with", "summary,chapters", "--with", "transcript")
    again += ("-Q", "What was shown?", "-f", "json,md,srt")
    assert omnimem(*again) == 0
    assert "skipped, done before" in capsys.readouterr().err
    Path("talk.omnimem").unlink()
    assert omnimem(*again, "-q") == 0
    assert Path("talk.omnimem").exists()


def test_a_recording_that_has_grown_is_watched_from_where_its_memory_ends(here, capsys):
    whole = Path("whole.ts")
    footage.run("-i", DEMO, "-c", "copy", whole)
    data = whole.read_bytes()
    watch = ("watch", "talk.ts", "-m", "nano", "--with", "transcript", "-f", "json", "-o", "out")
    Path("talk.ts").write_bytes(data[: len(data) // 2 // 188 * 188])
    assert omnimem(*watch) == 0
    first = result(Path("out/talk.transcript.json"))
    Path("talk.ts").write_bytes(data)
    capsys.readouterr()
    assert omnimem(*watch) == 0
    assert "has grown" in capsys.readouterr().err
    second = result(Path("out/talk.transcript.json"))
    assert second["coverage"]["ratio"] > 0.98 and second["coverage"]["video_s"] > first["coverage"]["video_s"] + 20
    assert second["transcript"]["segments"][:1] == first["transcript"]["segments"][:1]
    assert len(second["transcript"]["segments"]) > len(first["transcript"]["segments"])
    assert omnimem(*watch) == 0
    assert "done before" in capsys.readouterr().err


def test_a_task_adds_to_the_result_that_a_watch_wrote_and_leaves_what_a_person_wrote(watched, tmp_path, monkeypatch):
    shutil.copytree(watched, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path)
    assert omnimem("ask", "talk.mp4", "-m", "nano", "-Q", "What was shown?", "-f", "json", "-q") == 0
    assert omnimem("ask", "talk.mp4", "-m", "nano", "-Q", "What was shown first?", "-f", "json", "-q") == 0
    answers = json.loads(Path("talk.answers.json").read_text())["answers"]
    assert [answer["question"] for answer in answers] == ["What was shown?", "What was shown first?"]
    Path("talk.answers.json").write_text("mine")
    assert omnimem("ask", "talk.mp4", "-m", "nano", "-Q", "What was shown first?", "-f", "json", "-q") == 0
    assert omnimem("ask", "talk.mp4", "-m", "nano", "-Q", "What was shown last?", "-f", "json", "-q") == 8
    assert Path("talk.answers.json").read_text() == "mine"


def test_a_file_that_is_no_memory_of_this_input_is_not_replaced(here, capsys):
    shutil.copy(DEMO, "talk.mp4")
    Path("talk.omnimem").write_text("my notes")
    assert omnimem("watch", "talk.mp4", "-m", "nano", "-q") == 8
    assert Path("talk.omnimem").read_text() == "my notes"
    assert omnimem("watch", "talk.mp4", "-m", "nano", "-q", "--force") == 0


def test_a_folder_gives_memories_whose_video_is_not_there(here, capsys):
    Path("in").mkdir()
    shutil.move("talk.omnimem", "in/talk.omnimem")
    assert omnimem("ask", "in", "-r", "-n", "-Q", "What?") == 0
    assert "talk.omnimem" in capsys.readouterr().out
    shutil.copy(DEMO, "in/talk.mp4")
    assert omnimem("ask", "in", "-r", "-n", "-Q", "What?") == 0
    assert "talk.omnimem" not in capsys.readouterr().out
    assert omnimem("watch", "in", "-r", "-n", "-m", "nano") == 0
    assert "in/talk.mp4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("watch", "talk.omnimem"), "is a memory"),
        (("watch", "talk.mp4", "-o", "-"), "standard output"),
        (("watch", "talk.mp4", "-f", "md"), "--with"),
        (("watch", "talk.mp4", "--with", "poem"), "Choose from summary"),
        (("watch", "talk.mp4", "--with", "summary", "-f", "srt"), "srt is no format"),
        (("watch", "talk.mp4", "--with", "summary,transcript", "-f", "srt"), "no format for the summary"),
        (("ask", "talk.omnimem", "-Q", "What?", "--budget", "7"), "--budget"),
    ],
)
def test_what_a_memory_cannot_do_is_a_usage_error(arguments, said, here, capsys):
    assert omnimem(*arguments) == 2
    assert said in capsys.readouterr().err


def test_another_model_is_a_usage_error_that_names_the_right_one(here, tiny_folder, capsys):
    shutil.copy("talk.omnimem", "also.omnimem")
    assert omnimem("ask", "also.omnimem", "talk.omnimem", "-Q", "What?", "-m", tiny_folder) == 2
    assert "-m nano" in capsys.readouterr().err
    assert not list(Path().glob("*.md"))


def test_a_damaged_memory_fails_by_itself(here, capsys):
    shutil.copy("talk.omnimem", "broken.omnimem")
    data = bytearray(Path("broken.omnimem").read_bytes())
    data[-500] ^= 8
    Path("broken.omnimem").write_bytes(data)
    assert omnimem("ask", "broken.omnimem", "talk.omnimem", "-Q", "What was shown?", "-q") == 3
    assert "broken.omnimem is damaged" in capsys.readouterr().err
    assert Path("talk.answers.md").exists()


def test_show_tells_what_is_inside_and_verify_whether_it_is_whole(here, capsys):
    assert omnimem("memory", "show", "talk.omnimem") == 0
    shown = capsys.readouterr().out
    assert "transcript (" in shown and "picture  " in shown and "nano" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert omnimem("memory", "show", "talk.omnimem", "-f", "json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["file_bytes"] == Path("talk.omnimem").stat().st_size == sum(facts["part_bytes"].values())
    assert facts["part_bytes"]["keys and values"] > 0.85 * facts["memory"]["bytes"] > facts["part_bytes"]["tables"]
    assert omnimem("memory", "verify", "talk.omnimem") == 0
    Path("talk.omnimem").write_bytes(Path("talk.omnimem").read_bytes()[:-9])
    assert omnimem("memory", "verify", "talk.omnimem") == 4
    assert omnimem("memory", "show", "talk.omnimem") == 4


def test_a_memory_has_a_page(here, capsys):
    assert omnimem("report", "talk.omnimem") == 0
    page = Path("talk.html").read_text()
    assert "data-start" in page and "<svg" in page


def asked_again(folder: Path, question: str, *more: str) -> dict:
    """The answers to one more question about the video of ``folder``, which has its memory beside it."""
    assert omnimem("ask", folder / "talk.mp4", "-m", "nano", "-Q", question, "-f", "json", *more) == 0
    return result(folder / "talk.answers.json")


@pytest.fixture
def both(watched: Path, tmp_path: Path) -> Path:
    """A folder with a video and its memory."""
    for name in ("talk.mp4", "talk.omnimem"):
        shutil.copy(watched / name, tmp_path)
    return tmp_path


def test_a_question_about_a_video_whose_memory_was_kept_asks_the_memory_and_says_so(watched, both, capsys):
    asked = asked_again(both, "What was shown?")
    assert "talk.omnimem is asked; --force watches again" in capsys.readouterr().err
    assert asked["answers"] == result(watched / "talk.answers.json")["answers"]
    assert asked["input"]["path"].endswith("talk.mp4") and asked["timing"]["prefill_s"] == 0
    more = asked_again(both, "Which word was said?")
    assert [answer["question"] for answer in more["answers"]] == ["What was shown?", "Which word was said?"]


@pytest.mark.parametrize("change", ["--force", "--budget", "content", "damaged"])
def test_a_memory_of_another_work_or_content_is_not_asked(both, change, capsys):
    more = {"--force": ["--force"], "--budget": ["--budget", "64"]}.get(change, [])
    if change == "content":
        with (both / "talk.mp4").open("ab") as file:
            file.write(b"\0\0\0\x10free" + bytes(8))
    if change == "damaged":
        data = bytearray((both / "talk.omnimem").read_bytes())
        data[-100:] = bytes(100)
        (both / "talk.omnimem").write_bytes(data)
    asked = asked_again(both, "What was shown?", *more)
    said = capsys.readouterr().err
    assert asked["timing"]["prefill_s"] > 0 and "is asked" not in said
    assert ("is not used" in said) == (change == "damaged")


def test_a_video_without_a_memory_is_watched_and_how_to_keep_one_is_said(watched, tmp_path, capsys):
    shutil.copy(watched / "talk.mp4", tmp_path)
    assert asked_again(tmp_path, "What was shown?")["timing"]["prefill_s"] > 0
    assert "--keep-memory" in capsys.readouterr().err
    asked_again(tmp_path, "Which word was said?", "--keep-memory")
    assert (tmp_path / "talk.omnimem").exists() and "--keep-memory" not in capsys.readouterr().err
    assert asked_again(tmp_path, "What was shown first?")["timing"]["prefill_s"] == 0


def test_the_video_is_looked_at_again_where_its_memory_is_asked_from_another_folder(watched, tmp_path, monkeypatch):
    folder = tmp_path / "talks"
    folder.mkdir()
    shutil.copy(watched / "talk.mp4", folder)
    monkeypatch.chdir(folder)
    assert omnimem("watch", "talk.mp4", "-m", "nano", "-q") == 0
    monkeypatch.chdir(tmp_path)
    asked = asked_again(Path("talks"), "Which picture was shown?", "--look-again")
    assert asked["timing"]["decode_s"] == 0
    assert "not_looked" not in [note["code"] for note in asked["warnings"]]
