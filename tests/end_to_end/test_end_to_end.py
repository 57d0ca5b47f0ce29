"""The whole command line on real media with the built-in model: what a person at a shell meets."""

import json
import shutil
from pathlib import Path

import footage
import jsonschema
import pytest
import zoo
from fake_run import lines, omnimem

import omnimem_cli
from omnimem_cli.base.settings import Settings
from omnimem_cli.media import ffmpeg
from omnimem_cli.models import loader
from omnimem_cli.results import result as results
from omnimem_cli.session import preflight

NANO = ("-m", "nano", "--device", "cpu")


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


def test_the_demo_prints_its_summary_coverage_and_memory(capsys):
    assert omnimem("demo") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("# demo.mp4") and "Memory" in shown.out
    assert "watched" in shown.err
    assert [path.name for path in Path().iterdir()] == ["demo.omnimem"], "the demo leaves its memory, and no more"


def test_the_demo_as_json_is_a_valid_result_that_saw_all_of_it(capsys):
    assert omnimem("demo", "-f", "json", "-q") == 0
    shown = capsys.readouterr()
    (result,) = lines(shown.out)
    jsonschema.validate(result, results.schema())
    assert result["coverage"]["ratio"] >= 0.98
    assert "foreign_world" not in [warning["code"] for warning in result["warnings"]]
    assert shown.err == ""


def test_every_task_writes_its_files_for_a_real_clip(capsys):
    footage.av(Path(), "clip.mp4")
    assert omnimem("summarize", "clip.mp4", *NANO, "-f", "md,json,txt") == 0
    assert omnimem("transcribe", "clip.mp4", *NANO, "-f", "srt,vtt") == 0
    assert omnimem("ask", "clip.mp4", *NANO, "-Q", "What is shown?", "-f", "json") == 0
    names = {path.name for path in Path().glob("clip.*")} - {"clip.mp4"}
    written = {"clip.summary.md", "clip.summary.json", "clip.summary.txt", "clip.srt", "clip.vtt", "clip.answers.json"}
    assert names == written
    for name in ("clip.summary.json", "clip.answers.json"):
        result = json.loads(Path(name).read_text())
        jsonschema.validate(result, results.schema())
        assert result["input"]["digest"].startswith("sha256:")


def test_a_second_look_is_in_the_result_of_a_file_and_of_its_memory():
    shutil.copy(Path(omnimem_cli.__file__).parent / "world" / "demo.mp4", "talk.mp4")
    ask = ["ask", "-m", "nano", "-q", "--look-again", "-Q", "What is written on the first slide?", "-f", "json"]
    assert omnimem(*ask, "talk.mp4", "--budget", "64", "--keep-memory") == 0
    watched = json.loads(Path("talk.answers.json").read_text("utf-8"))
    assert omnimem(*ask, "talk.omnimem", "-o", "again.json") == 0
    again = json.loads(Path("again.json").read_text("utf-8"))
    assert watched["answers"][0]["look"]["spans"] and again["answers"] == watched["answers"]
    assert watched["memory"]["peak_bytes"] > watched["memory"]["bytes"] and not watched["warnings"]


def test_the_built_in_model_says_that_it_knows_nothing_of_real_videos(capsys):
    footage.av(Path(), "clip.mp4")
    assert omnimem("summarize", "clip.mp4", *NANO, "-o", "-", "-f", "json") == 0
    (result,) = lines(capsys.readouterr().out)
    (warning,) = [w for w in result["warnings"] if w["code"] == "foreign_world"]
    assert "choose a model for real ones with -m" in warning["message"]


BAD = (zoo.text, zoo.random_bytes, zoo.empty, zoo.truncated_mp4, zoo.missing)


@pytest.mark.parametrize("make", BAD)
def test_a_bad_file_alone_is_4_in_two_lines(make, capsys):
    bad = str(make(Path()))
    assert omnimem("summarize", bad, *NANO) == 4
    shown = capsys.readouterr()
    problem = shown.err[shown.err.index("error: ") :]
    assert Path(bad).name in problem and len(problem.strip().splitlines()) == 2
    assert "Traceback" not in shown.err and shown.out == ""


def test_bad_files_among_others_are_3_and_cost_nothing_but_themselves(capsys):
    bad, good = [str(make(Path())) for make in BAD], str(footage.av(Path(), "good.mp4"))
    assert omnimem("summarize", *bad, good, *NANO) == 3
    assert capsys.readouterr().out == "good.summary.md\n"
    assert {path.suffix for path in Path(".omnimem").iterdir()} == {".json"}


def test_a_file_cut_short_is_done_with_its_true_coverage_and_7_under_strict(capsys):
    cut = str(zoo.truncated_mkv(Path()))
    assert omnimem("summarize", cut, *NANO, "-o", "-") == 0
    (result,) = lines(capsys.readouterr().out)
    assert result["status"] == "done" and result["coverage"]["ratio"] < 0.98
    assert "coverage_low" in [note["code"] for note in result["warnings"]]
    assert omnimem("summarize", cut, *NANO, "-o", "-", "--strict") == 7


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--budget", "1KiB"], 6, "--budget"),
        (["--policy", "best"], 2, "omnimem"),
        (["--positions", "forget"], 2, "retime"),
        (["--fps", "0.5"], 2, "1"),
        (["--audio-track", "9"], 4, "track"),
        (["--start", "99:00"], 4, "range"),
    ],
)
def test_what_cannot_be_done_says_what_can(flags: list[str], code: int, said: str, capsys):
    footage.av(Path(), "clip.mp4")
    assert omnimem("summarize", "clip.mp4", *NANO, *flags) == code
    shown = capsys.readouterr().err
    assert said in shown and "Traceback" not in shown
    assert not list(Path().glob("*.md"))


def test_without_any_ffmpeg_it_is_5_with_the_next_step(monkeypatch: pytest.MonkeyPatch, capsys):
    import imageio_ffmpeg

    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    footage.av(Path(), "clip.mp4")
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: None)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    assert omnimem("summarize", "clip.mp4", *NANO) == 5
    assert "Install ffmpeg" in capsys.readouterr().err
    assert omnimem("doctor", *NANO) == 5


def test_doctor_tells_versions_devices_budget_and_what_a_file_takes(capsys):
    footage.av(Path(), "clip.mp4")
    assert omnimem("doctor", "clip.mp4", *NANO) == 0
    out = capsys.readouterr().out
    for word in ("omnimem", "python", "torch", "transformers", "ffmpeg", "cpu", "nano", "budget", "tokens", "0:06"):
        assert word in out


def test_doctor_estimates_with_the_type_asked_for(capsys):
    verdicts = []
    footage.av(Path(), "clip.mp4")
    for dtype in ("float32", "int4"):
        assert omnimem("doctor", "clip.mp4", *NANO, "--dtype", dtype, "-f", "json") == 0
        findings = {finding["about"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
        assert dtype in findings["fits"]["text"]
        verdicts.append(findings["room"]["needed_bytes"])
    assert verdicts[1] < 0.7 * verdicts[0]
    assert omnimem("doctor", *NANO, "--dtype", "int3") == 2


def found(shown: str) -> dict[str, str]:
    """The findings of ``doctor -f json`` by what they are about."""
    return {finding["about"]: finding["text"] for finding in json.loads(shown)["findings"]}


def test_doctor_estimates_with_the_plan_of_this_very_input(capsys):
    footage.av(Path(), "clip.mp4")
    tokens = []
    for flags in ([], ["--end", "4"], ["--end", "4", "--no-audio"], ["--end", "4", "--no-audio", "--fps", "4"]):
        assert omnimem("doctor", "clip.mp4", *NANO, "-f", "json", *flags) == 0
        findings = {finding["about"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
        tokens.append(findings["tokens"]["tokens"])
    assert omnimem("summarize", "clip.mp4", *NANO, "--end", "4", "-o", "-") == 0
    (result,) = lines(capsys.readouterr().out)
    seen = result["memory"]["seen"]
    assert tokens[0] > tokens[1] == seen["visual"] + seen["audio"]
    assert tokens[2] == seen["visual"] and tokens[3] == 2 * tokens[2]


def test_doctor_knows_policies_and_the_config_file_as_a_run_does(capsys):
    footage.av(Path(), "clip.mp4")
    Path("omnimem.yaml").write_text("budget: 64\n")
    for flags, said, kept in (
        ([], "64 entries", "% are kept"),
        (["--policy", "full"], "evicts nothing", "all are kept"),
    ):
        assert omnimem("doctor", "clip.mp4", *NANO, *flags, "-f", "json") == 0
        shown = found(capsys.readouterr().out)
        assert said in shown["budget"] and kept in shown["tokens"]


def test_doctor_says_what_a_model_would_take_whose_weights_are_not_here_and_still_5(monkeypatch, capsys):
    footage.av(Path(), "clip.mp4")
    monkeypatch.setattr("omnimem_cli.models.hub.cached", lambda hub_id: None)
    for free, said in (
        (2**36, "qwen2.5-omni-7b would fit"),
        (18 * 10**9, "does not fit"),
        (2**33, "weights of qwen2.5-omni-7b take"),
    ):
        monkeypatch.setattr(loader, "free_bytes", lambda where, free=free: free)
        flags = (
            "-m",
            "qwen2.5-omni-7b",
            "--device",
            "cpu",
            "--dtype",
            "bfloat16",
            "-f",
            "json",
            "--max-pixels",
            "900000",
        )
        assert omnimem("doctor", "clip.mp4", *flags, "-f", "json") == 5
        shown = capsys.readouterr()
        assert said in found(shown.out)["room"] and "models pull qwen2.5-omni-7b" in shown.err
    assert "16.6 GiB" in found(shown.out)["room"]


def test_doctor_says_what_the_advised_model_would_take_where_none_is_here(monkeypatch, capsys):
    footage.av(Path(), "clip.mp4")
    monkeypatch.setattr("omnimem_cli.models.hub.cached", lambda hub_id: None)
    monkeypatch.setattr(loader, "total_memory", lambda where: 16 * 10**9)
    monkeypatch.setattr(loader, "free_bytes", lambda where: 2**36)
    assert omnimem("doctor", "clip.mp4", "--device", "cpu", "--dtype", "bfloat16", "-f", "json") == 5
    shown = capsys.readouterr()
    assert "qwen2.5-omni-3b would fit" in found(shown.out)["room"] and "models pull qwen2.5-omni-3b" in shown.err


def test_doctor_ends_as_a_run_would_where_the_input_is_missing():
    assert omnimem("doctor", "nowhere.mp4", *NANO) == 4


@pytest.mark.parametrize(("damage", "said"), [("missing", "lacks model-00001"), ("cut", "incomplete model-00001")])
def test_doctor_says_5_for_weights_that_a_run_would_refuse(tiny_full_folder: Path, damage: str, said: str, capsys):
    folder = Path(shutil.copytree(tiny_full_folder, "copy"))
    shard = folder / "model-00001-of-00002.safetensors"
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-1])
    footage.av(Path(), "clip.mp4")
    assert omnimem("doctor", "clip.mp4", "-m", str(folder), "--device", "cpu") == 5
    shown = capsys.readouterr()
    assert said in shown.out and "it fits" not in shown.out and "models pull" in shown.err


def test_doctor_says_6_and_what_would_fit_for_a_file_that_does_not(monkeypatch: pytest.MonkeyPatch, capsys):
    footage.av(Path(), "clip.mp4")
    settings = Settings(model="nano")
    nano = preflight.outline_of_folder(loader.locate("nano"), settings)
    needed = nano.weights + nano.size_memory(settings, preflight.probed("clip.mp4", settings)).needed
    monkeypatch.setattr(loader, "free_bytes", lambda where: needed)
    assert omnimem("doctor", "clip.mp4", *NANO) == 0
    assert "it fits" in capsys.readouterr().out
    monkeypatch.setattr(loader, "free_bytes", lambda where: needed - 1)
    assert omnimem("doctor", "clip.mp4", *NANO) == 6
    shown = capsys.readouterr()
    assert "does not fit" in shown.out and "--budget" in shown.err


def test_the_same_command_again_does_nothing_and_the_text_is_the_same_for_a_copy():
    footage.av(Path(), "clip.mp4")
    Path("copy.mp4").write_bytes(Path("clip.mp4").read_bytes())
    assert omnimem("summarize", "clip.mp4", "copy.mp4", *NANO, "-f", "json") == 0
    first = json.loads(Path("clip.summary.json").read_text())
    assert json.loads(Path("copy.summary.json").read_text())["summary"] == first["summary"]
    before = Path("clip.summary.json").stat().st_mtime_ns
    assert omnimem("summarize", "clip.mp4", "copy.mp4", *NANO, "-f", "json") == 0
    assert Path("clip.summary.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_two_workers_with_the_real_model_give_what_one_process_gives():
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        footage.av(Path(), name)
    assert omnimem("summarize", "a.mp4", "b.mp4", "c.mp4", *NANO, "-f", "json", "-o", "one") == 0
    workers = ("--workers", "cpu,cpu")
    assert omnimem("summarize", "a.mp4", "b.mp4", "c.mp4", *NANO, "-f", "json", "-o", "two", *workers) == 0
    for name in ("a", "b", "c"):
        one, two = (json.loads(Path(folder, f"{name}.summary.json").read_text()) for folder in ("one", "two"))
        assert {k: v for k, v in one.items() if k != "timing"} == {k: v for k, v in two.items() if k != "timing"}
