"""What ``doctor -f json`` says to a script: numbers with their units, sizes in one notation, one exit code."""

import json
import re
from pathlib import Path

import footage
import jsonschema
import pytest
from fake_run import omnimem

NANO = ("-m", "nano", "--device", "cpu")
TEXT, COUNT, SIZE = {"type": "string"}, {"type": ["integer", "null"]}, {"type": ["integer", "null"], "minimum": 0}
SECONDS, RATE = {"type": ["number", "null"]}, {"type": ["number", "null"]}
STREAM = {"codec": TEXT, "width": COUNT, "height": COUNT, "frames_per_second": RATE, "tracks": COUNT}
FACTS = {
    **{"about": TEXT, "ok": {"type": "boolean"}, "text": TEXT, "hint": TEXT, "version": {"type": ["string", "null"]}},
    **{"path": TEXT, "name": TEXT, "folder": TEXT, "dtype": TEXT, "models": {"type": "array", "items": TEXT}},
    **{name: SIZE for name in ("memory_bytes", "bytes", "needed_bytes", "weights_bytes", "free_bytes")},
    **{
        "usable": {"type": "boolean"},
        "threads": COUNT,
        "entries_per_layer": COUNT,
        "tokens": COUNT,
        "kept_ratio": RATE,
        "duration_s": SECONDS,
    },
    **{kind: {"type": "object", "properties": STREAM, "additionalProperties": False} for kind in ("video", "audio")},
}
FINDING = {"type": "object", "properties": FACTS, "additionalProperties": False, "required": ["about", "ok", "text"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "schema": {"const": "omnimem/doctor/1"},
        "exit_code": {"enum": [0, 2, 4, 5, 6, 8]},
        "findings": {"type": "array", "items": FINDING, "minItems": 8},
    },
    "additionalProperties": False,
    "required": ["schema", "exit_code", "findings"],
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    footage.av(Path(), "clip.mp4", video_s=2, audio_s=2)


def told(capsys, *arguments: str) -> tuple[int, dict]:
    code = omnimem("doctor", *arguments, "-f", "json")
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("clip.mp4", *NANO), 0),
        (("clip.mp4", *NANO, "--budget", "1GiB"), 0),
        (("clip.mp4", *NANO, "--policy", "full"), 0),
        (("gone.mp4", *NANO), 4),
        (("clip.mp4", "-m", "nano", "--device", "cuda:7"), 5),
        (("clip.mp4", *NANO, "--budget", "8B"), 6),
    ],
)
def test_the_findings_are_numbers_with_their_units_and_one_exit_code(arguments, code, capsys):
    status, whole = told(capsys, *arguments)
    jsonschema.validate(whole, SCHEMA)
    assert status == whole["exit_code"] == code
    assert all(finding["ok"] for finding in whole["findings"]) == (code == 0)


def test_the_numbers_are_those_of_the_text(capsys):
    findings = {finding["about"]: finding for finding in told(capsys, "clip.mp4", *NANO)[1]["findings"]}
    assert findings["input"]["duration_s"] == pytest.approx(2, abs=0.1)
    assert findings["input"]["video"]["width"] == footage.WIDTH and findings["input"]["audio"]["tracks"] == 1
    assert findings["budget"]["entries_per_layer"] == 512 and findings["tokens"]["kept_ratio"] == 1.0
    room = findings["room"]
    assert 0 < room["weights_bytes"] < room["needed_bytes"] < room["free_bytes"]


@pytest.mark.parametrize("model", ["nano", "qwen2.5-omni-3b", "auto"])
def test_the_doctor_writes_sizes_in_one_notation(model, capsys):
    omnimem("doctor", "clip.mp4", "-m", model, "--device", "cpu", "--budget", "2GB")
    shown = capsys.readouterr()
    assert re.search(r"\d [KMG]iB", shown.out) and not re.search(
        r"\d ?[KMG]B|\d{6,} (bytes|entries|go)", shown.out + shown.err
    )


def test_more_frames_than_the_file_has_are_refused_and_as_many_are_taken(capsys):
    """25 per second: --fps 1000 took minutes to see each of them forty times."""
    assert omnimem("summarize", "clip.mp4", *NANO, "--fps", "1000") == 4
    said = capsys.readouterr().err
    assert "clip.mp4 has 25 frames per second" in said and "--fps 25 or less" in said
    assert told(capsys, "clip.mp4", *NANO, "--fps", "26")[0] == 4
    assert told(capsys, "clip.mp4", *NANO, "--fps", "25")[0] == 0


def test_a_rate_that_varies_is_no_bound(capsys):
    footage.timed(Path(), "screen.mp4", [(10, 0, 1000), (25, 10_000, 40)])
    assert told(capsys, "screen.mp4", *NANO, "--fps", "25")[0] == 0
