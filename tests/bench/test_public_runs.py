"""Public benchmarks from their authors' files to scores: every layout, a kill, missing and broken videos, no letter."""

import importlib.util
import json
from pathlib import Path

import pytest
from benchmarks import LAYOUTS, letter, make_benchmark, make_clips
from scripted_model import ScriptedModel, killed_at

from omnimem_cli.bench.public.dataset import Answered
from omnimem_cli.bench.public.library import DATASETS, clips_of

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


def widest(text: str) -> int:
    """Columns of what is for people: all but the last line of stdout, and but paths."""
    return max(len(line) for line in text.splitlines()[:-1] if not line.startswith(("missing: ", "unreadable: ")))


def lines_of(path: Path) -> dict[tuple[str, str], dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(line["policy"], line["video"]): line for line in lines}


@pytest.mark.parametrize("name", HERE)
def test_a_check_finds_what_is_missing_and_broken_and_watches_nothing(name, clips, model, tmp_path, capfd):
    make_benchmark(name, tmp_path / "data", clips)
    assert model.run(name, "--check") == 3, "some are missing"
    out = capfd.readouterr().out
    assert widest(out) <= 80
    checked = result_in(out)
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
    shown = capfd.readouterr()
    assert widest(shown.out) <= 80 and "--keep-memory" not in shown.err
    (row,) = result_in(shown.out)["rows"]
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
    shown = capfd.readouterr()
    assert widest(shown.out) <= 80 and "entries of 16 bits" in shown.out and "wrote out/answers.jsonl" in shown.err
    result = result_in(shown.out)
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
        "kv_bits": 16,
        "plan": None,
        "av_ratio": None,
        "chunk": None,
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


def letter_in(asked: dict) -> str | None:
    return DATASETS["videomme"].extract(asked["response"], ())


def by_prediction(name: str, rows: list[dict], key: str) -> list[bool]:
    """What an official scorer counts that takes the letters itself."""
    return [DATASETS[name].extract(row[key], ()) == row["answer"] for row in rows]


SUBMISSIONS = {
    "videomme": (
        "output_test.json",
        lambda rows: by_prediction("videomme", [q for v in rows for q in v["questions"] if letter_in(q)], "response"),
    ),
    "lvbench": ("answers.json", lambda rows: [given == letter(uid) for uid, given in rows.items()]),
    "lvomnibench": (
        "final_predictions.json",
        lambda rows: [
            row["model_prediction"] == row["correct_option"] == (row["is_correct"] and row["correct_option"])
            for row in rows
            if not row["skipped"] and row["model_prediction"] is not None
        ],
    ),
    "worldsense": ("predictions.json", lambda rows: by_prediction("worldsense", rows, "prediction")),
    "video-holmes": (
        "Results-omnimem.json",
        lambda rows: [row["Correct"] and row["Predicr Answer"] == row["GT"] for row in rows],
    ),
    "omnivideobench": (
        "results.json",
        lambda rows: [row["is_correct"] and row["model_answer"] == row["correct_answer"] for row in rows],
    ),
    "jointavbench": (
        "eval_results_omnimem_av.jsonl",
        lambda rows: [r["model_answer"] == r["correct_prefix"] for r in rows if r["model_answer"] is not None],
    ),
}
"""The name of each dataset's own file, and what its authors' scorer counts of it, one by one."""


@pytest.mark.parametrize("name", [name for name in SUBMISSIONS if name in HERE])
def test_the_authors_scorers_count_what_failed_as_wrong_but_for_video_mmes(name, clips, model, tmp_path):
    make_benchmark(name, tmp_path / "data", clips)
    model.run(name, "-q")
    file, counted = SUBMISSIONS[name]
    text = (Path("out") / f"salience.{file}").read_text()
    rows = [json.loads(line) for line in text.splitlines()] if file.endswith(".jsonl") else json.loads(text)
    right = counted(rows)
    assert (len(right), sum(right)) == (3 if name == "videomme" else 6, 2), "that of Video-MME counts letters alone"


def test_the_datasets_own_files_have_the_fields_that_their_scorers_read(clips, model, tmp_path):
    fields = {
        "lvomnibench": {"audio_type", "difficulty", "video_category", "question_type", "model_answer_raw"},
        "worldsense": {"index", "duration", "domain", "sub_category", "audio_class", "task_domain", "task_type"},
        "video-holmes": {"Question ID", "Question Type", "Explanation", "Thinking"},
        "omnivideobench": {"video", "duration", "question", "options"},
        "jointavbench": {"qid", "task", "modality", "model", "model_output"},
    }
    for name, wanted in fields.items():
        place = LAYOUTS[name]
        (tmp_path / name).mkdir()
        place(tmp_path / name)
        items = [item for one in clips_of(DATASETS[name], tmp_path / name, None) for item in one.items]
        answered = [Answered(item, "a", "p", "missing", "< 2 min") for item in items]
        file, text = DATASETS[name].submission(answered)
        rows = [json.loads(line) for line in text.splitlines()] if file.endswith(".jsonl") else json.loads(text)
        assert all(wanted <= set(row) for row in rows), name


def test_without_pyarrow_parquet_names_the_extra(clips, model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    make_benchmark("videomme", tmp_path / "data", clips)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert model.run("videomme") == 5
    assert "omnimem-cli[eval]" in capsys.readouterr().err


def test_a_broken_parquet_file_is_named_and_so_is_one_without_a_column(clips, model, tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    make_benchmark("videomme", tmp_path / "data", clips)
    (path,) = (tmp_path / "data").rglob("*.parquet")
    whole = pyarrow.parquet.read_table(path)
    for table in (whole.drop_columns(["videoID"]), whole.drop_columns(["options"])):
        pyarrow.parquet.write_table(table, path)
        assert model.run("videomme", "--check") == 4
        assert "not in the layout of videomme" in " ".join(capsys.readouterr().err.split())
    for broken in (path.read_bytes()[:-20], b"this is no Parquet file", b""):
        path.write_bytes(broken)
        assert model.run("videomme") == 4
        shown = " ".join(capsys.readouterr().err.split())
        assert "cannot be read as Parquet" in shown and "Download it again" in shown
    assert not model.asked and not Path("out").exists()


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
