"""Public benchmarks from their authors' files to scores: every layout, a kill, missing and broken videos, no letter."""

import importlib.util
import json
from pathlib import Path

import pytest
from benchmarks import LAYOUTS, make_benchmark, make_clips
from scripted_model import ScriptedModel, killed_at

HERE = [name for name in LAYOUTS if name != "videomme" or importlib.util.find_spec("pyarrow")]
ACCURACY, ANSWERED = 2 / 6, 2 / 3
LOW, HIGH = 0.0968, 0.7000
"""Of 2 in 6: Wilson's interval, (1/3 + 1.96^2 / 12) / (1 + 1.96^2 / 6) -+ 0.3016. Videos differ no more than chance."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture
def model(monkeypatch, tiny_folder) -> ScriptedModel:
    return ScriptedModel(tiny_folder, monkeypatch.setattr)


def result_in(text: str) -> dict:
    """The last line of stdout."""
    return json.loads(text.splitlines()[-1])


def lines_of(path: Path) -> dict[tuple[str, str], dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(line["policy"], line["video"]): line for line in lines}


@pytest.mark.parametrize("name", HERE)
def test_a_check_finds_what_is_missing_and_broken_and_watches_nothing(name, clips, model, tmp_path, capfd):
    make_benchmark(name, tmp_path / "data", clips)
    assert model.run(name, "--check") == 3, "some are missing"
    checked = result_in(capfd.readouterr().out)
    assert (checked["videos"], checked["questions"], checked["present"]) == (4, 6, 2)
    assert [Path(path).name for path in checked["missing"]] == ["d.mp4"]
    assert [Path(path).name for path in checked["unreadable"]] == ["c.mp4"]
    assert checked["tokens"] > 0 and checked["hours"] >= 0 and checked["gpu_hours_estimate"] >= 0
    assert not model.asked and not Path("out").exists()


@pytest.mark.parametrize("name", HERE)
def test_a_killed_run_goes_on_to_the_scores_counted_by_hand(name, clips, model, tmp_path, capfd):
    make_benchmark(name, tmp_path / "data", clips)
    killed_at(model, name, "b-0")
    whole = [json.loads(line)["video"] for line in Path("out/answers.jsonl").read_text().splitlines()]
    assert whole == ["a", "a"], "the answers of a watch that ended are there"
    assert model.run(name) == 3
    assert model.asked == ["b-0", "b-1"], "what was watched before the kill is not watched again"
    (row,) = result_in(capfd.readouterr().out)["rows"]
    assert row["accuracy"] == pytest.approx(ACCURACY, abs=1e-4)
    assert row["answered_accuracy"] == pytest.approx(ANSWERED, abs=1e-4)
    assert (row["low"], row["high"]) == (pytest.approx(LOW, abs=1e-4), pytest.approx(HIGH, abs=1e-4))
    counts = {key: row[key] for key in ("n", "videos", "right", "wrong", "no_letter", "failed", "missing", "watched")}
    assert counts == dict(n=6, videos=4, right=2, wrong=1, no_letter=1, failed=1, missing=1, watched=2)
    assert {kind: (one["right"], one["n"]) for kind, one in row["by_task"].items()} == {"one": (1, 3), "two": (1, 3)}
    assert row["coverage_least"] > 0.9 and row["peak_bytes"] > 0 and row["tokens"] > 0
    status = {video: line["status"] for (_, video), line in lines_of(Path("out/answers.jsonl")).items()}
    assert status == {"a": "wrong", "b": "right", "c": "failed", "d": "missing"}


def test_two_policies_are_compared_on_the_same_questions(clips, model, tmp_path, capfd):
    make_benchmark("worldsense", tmp_path / "data", clips)
    assert model.run("worldsense", "--policies", "uniform,full") == 3
    result = result_in(capfd.readouterr().out)
    assert [row["policy"] for row in result["rows"]] == ["uniform", "full"]
    assert model.asked == ["a-0", "a-1"] * 2 + ["b-0", "b-1"] * 2
    (compared,) = result["comparisons"]
    assert (compared["difference"], compared["mcnemar_p"]) == (0.0, 1.0)
    watches = {path.parent.name: json.loads(path.read_text()) for path in Path("out/watches").glob("*/a.json")}
    assert {folder: watch["memory"]["policy"] for folder, watch in watches.items()} == dict(
        uniform="uniform", full="full"
    )
    assert result["how"] | {"omnimem": ""} == {
        "model": result["how"]["model"],
        "adapter": None,
        "dtype": None,
        "budget": "64",
        "positions": "keep",
        "fps": 1.0,
        "max_pixels": 3136,
        "sound": True,
        "picture": True,
        "subtitles": False,
        "prompt": "worldsense/vlmevalkit-audio",
        "extractor": "worldsense/lead-ins+first-letter",
        "max_tokens": 16,
        "omnimem": "",
    }


SUBMISSIONS = {
    "videomme": ("output_test.json", lambda rows: [len(video["questions"]) for video in rows] == [2, 2, 1, 1]),
    "lvbench": ("answers.json", lambda rows: set(rows) == {"a-0", "a-1", "b-0", "b-1", "c-0", "d-0"}),
    "lvomnibench": (
        "final_predictions.json",
        lambda rows: [r["is_correct"] for r in rows] == [True, *[False] * 2, True, *[False] * 2],
    ),
    "worldsense": ("predictions.json", lambda rows: [row["index"] for row in rows] == list(range(6))),
    "video-holmes": ("Results-omnimem.json", lambda rows: [r["Predicr Answer"] for r in rows][2] == "WRONG"),
    "omnivideobench": ("results.json", lambda rows: rows[2]["model_answer"] == "hm"),
}


@pytest.mark.parametrize("name", [name for name in SUBMISSIONS if name in HERE])
def test_the_datasets_own_file_holds_every_question_so_that_its_scorer_leaves_none_out(name, clips, model, tmp_path):
    make_benchmark(name, tmp_path / "data", clips)
    model.run(name, "-q")
    file, holds = SUBMISSIONS[name]
    rows = json.loads((Path("out") / f"salience.{file}").read_text())
    assert holds(rows)


def test_without_pyarrow_parquet_names_the_extra(clips, model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    make_benchmark("videomme", tmp_path / "data", clips)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert model.run("videomme") == 5
    assert "omnimem-cli[eval]" in capsys.readouterr().err


def test_a_class_of_length_has_its_own_name(clips, model, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    make_benchmark("videomme", tmp_path / "data", clips)
    assert model.run("videomme-short", "-f", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rows"][0]["n"] == 2 and list(result["rows"][0]["by_length"]) == ["short"]


def test_subtitles_are_in_the_prompts_only_when_asked_for(clips, model, tmp_path):
    make_benchmark("worldsense", tmp_path / "data", clips)
    (tmp_path / "data" / "subtitles").mkdir()
    text = "1\n00:00:00,400 --> 00:00:00,900\nbetween frames\n\n2\n00:00:00,900 --> 00:00:02,000\non screen\n"
    (tmp_path / "data" / "subtitles" / "a.srt").write_text(text)
    model.run("worldsense", "--videos", "1")
    model.run("worldsense", "--videos", "1", "--subtitles")
    prompts = model.prompts
    assert len(prompts) == 4
    assert not any("on screen" in prompt for prompt in prompts[:2]) and all("on screen" in p for p in prompts[2:])
    assert not any("between frames" in prompt for prompt in prompts)
    assert model.run("lvbench", "--subtitles") == 2


@pytest.mark.parametrize("text", ["[", '{"a": 1}', '[{"video": "a"}]'])
def test_a_file_in_another_layout_is_named(text, model, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data.json").write_text(text)
    assert model.run("omnivideobench") == 4
    assert "data" in capsys.readouterr().err
    assert model.run("nonsense") == 2
