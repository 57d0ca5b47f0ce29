"""Tuning a budget on one's own file: one watch, and answers as those of a watch under each budget alone."""

import json
import shutil
from pathlib import Path

import pytest
from fake_run import omnimem

import omnimem_cli
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.tune import tune, word_f1
from omnimem_cli.models.loader import load
from omnimem_cli.tasks.presets.library import as_questions

DEMO = Path(omnimem_cli.__file__).parent / "world" / "demo.mp4"
ASKED = ("What was shown?", "What is shown first?", "Which words were said?", "What is shown last?")


@pytest.fixture(scope="module")
def nano():
    return load("nano", device="cpu")


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    shutil.copy(DEMO, "talk.mp4")


def of_one_watch(budget: str) -> tuple[list[str], int]:
    """Answers and bytes of a watch under this budget alone."""
    asked = [word for text in ASKED for word in ("-Q", text)]
    assert (
        omnimem("ask", "talk.mp4", "-m", "nano", "--device", "cpu", "-q", "--budget", budget, "-f", "json", *asked) == 0
    )
    result = json.loads(Path("talk.answers.json").read_text())
    return [answer["answer"] for answer in result["answers"]], result["memory"]["bytes"]


def test_every_budget_answers_as_a_watch_of_its_own_would_and_the_video_is_encoded_once(nano, monkeypatch):
    encoded: list[int] = []
    budgets = [Budget(48), Budget(96), Budget(512)]
    opened = nano.open
    monkeypatch.setattr(nano, "open", lambda *a, **k: _counted(opened(*a, **k), encoded))
    result = tune(nano, "talk.mp4", as_questions(ASKED), budgets, Settings(), lambda progress: None)
    assert len(encoded) == len(set(encoded)), "no segment is encoded twice"
    for row in result["rows"]:
        answers, held = of_one_watch(row["budget"])
        assert [a["answer"] for a in row["answers"]] == answers and row["bytes"] == held
    largest = result["rows"][-1]
    assert (result["compared_with"], largest["same"], largest["agreement"]) == ("512", len(ASKED), 1.0)


def _counted(stream, encoded):
    real = stream.encode
    stream.encode = lambda segments: (encoded.extend(s.index for s in segments), real(segments))[1]
    return stream


def test_the_smallest_budget_that_agrees_is_recommended(capsys):
    words = ("tune", "talk.mp4", "-m", "nano", "--device", "cpu", "-Q", ASKED[0], "-Q", ASKED[2], "--budgets")
    assert omnimem(*words, "32,448,512") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    result = json.loads(shown.splitlines()[-1])
    agree = {row["budget"]: row["agreement"] for row in result["rows"]}
    assert agree["32"] < 0.9 <= agree["448"] and result["recommended"] == "448"
    assert "recommended: --budget 448" in shown
    assert omnimem(*words, "512") == 2 and omnimem(*words, "512,auto") == 2
    assert omnimem("tune", "talk.mp4", "-m", "nano") == 2, "there is no question"
    assert omnimem("tune", "none.mp4", *words[2:], "32,64") == 4


def test_words_agree_as_bags():
    assert word_f1(["red", "circle"], ["circle", "red"]) == 1.0
    assert word_f1(["red", "circle"], ["red"]) == pytest.approx(2 / 3)
    assert (word_f1([], []), word_f1(["a"], [])) == (1.0, 0.0)
