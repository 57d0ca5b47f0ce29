"""Every recipe does what it says: its lines are run as they are printed, with the built-in model on small clips."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import footage
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "omnimem_cli" / "commands" / "RECIPES.md").read_text("utf-8")
BASH = re.findall(r"^```bash\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
(CRON,) = re.findall(r"^```cron\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
UNITS = dict(re.findall(r"^```ini\n# (omnimem\.\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL))
HOME = "/home/me"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: recordings, meetings, and omnimem where the recipes have it."""
    clip = footage.av(tmp_path_factory.mktemp("made"), "clip.mp4")
    for name in ("recordings/a.mp4", "recordings/by day/my talk.mp4", "meetings/monday.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    script = tmp_path / "omnimem" / ".venv" / "bin" / "omnimem"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!{sys.executable}\nfrom omnimem_cli.app import main\nmain()\n")
    script.chmod(0o755)
    return tmp_path


def run(line: str, home: Path, **variables: str) -> subprocess.CompletedProcess:
    """A line, in a shell that fails where any part of it does."""
    path = f"{home}/omnimem/.venv/bin:{os.environ['PATH']}"
    own = {"HOME": str(home), "PATH": path, "OMNIMEM_DEVICE": "cpu", "OMNIMEM_MODEL": "nano", "LC_ALL": "C.UTF-8"}
    environment = os.environ | own | variables
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=home, env=environment, capture_output=True, text=True
    )


def recipe(part: str, home: Path) -> str:
    """What the recipe prints that has this in it."""
    (line,) = [line for line in BASH if part in line]
    if "jq" in line and shutil.which("jq") is None:
        pytest.skip("jq is not there")
    done = run(line, home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_recipe_is_without_a_test():
    source = Path(__file__).read_text("utf-8")
    tried = re.findall(r'recipe\("(.*?)", home\)', source)
    assert all(sum(part in line for part in tried) == 1 for line in BASH)
    assert set(re.findall(r"^```(\w+)$", TEXT, flags=re.MULTILINE)) == {"bash", "cron", "ini"}


@pytest.mark.slow
def test_cron(home):
    lines = CRON.splitlines()
    variables = dict(line.split("=", 1) for line in lines[:-1])
    assert variables["PATH"].split(":")[0] == f"{HOME}/omnimem/.venv/bin"
    assert variables["OMNIMEM_MODEL"] in (ROOT / "README.md").read_text("utf-8")
    fields = re.fullmatch(r"((?:[\d*,/-]+ ){5})(.*)", lines[-1])
    assert fields and "%" not in fields[2]  # cron makes a new line of it
    done = run(fields[2].replace(HOME, str(home)), home)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) == {"summaries/a.summary.md", "summaries/by day/my talk.summary.md"}
    assert (home / "recordings/summaries/a.summary.md").exists()
    assert (home / "recordings/summaries/by day/my talk.summary.md").exists()
    assert "a.mp4" in (home / "recordings/summaries.log").read_text("utf-8")


def test_systemd_finds_nothing_to_say_about_the_units(home):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    for name, text in UNITS.items():
        (home / name).write_text(text.replace("%h", str(home)))
    command = ["systemd-analyze", "verify", "--user", *(str(home / name) for name in UNITS)]
    runtime = {"XDG_RUNTIME_DIR": str(home), "HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | runtime)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_systemd(home):
    service = dict(line.split("=", 1) for line in UNITS["omnimem.service"].splitlines() if "=" in line)
    assert service["Environment"].startswith("OMNIMEM_MODEL=")
    (home / "recordings/broken.mp4").write_bytes(b"nothing")
    here = service["WorkingDirectory"].replace("%h", str(home))
    done = run(f"cd {shlex.quote(here)} && {service['ExecStart'].replace('%h', str(home))}", home)
    assert done.returncode == int(service["SuccessExitStatus"])
    assert (home / "recordings/summaries/a.summary.md").exists()


@pytest.mark.slow
def test_find(home):
    recipe("xargs", home)
    assert {path.name for path in (home / "subtitles").rglob("*.srt")} == {"a.srt", "my talk.srt"}
    recipe("--files-from", home)
    assert {path.name for path in (home / "texts").rglob("*.txt")} == {"a.transcript.txt", "my talk.transcript.txt"}


@pytest.mark.slow
def test_jq(home):
    assert recipe("missing.mp4", home) == "missing.mp4\tmissing\n"
    rows = [line.split("\t") for line in recipe("action_items", home).splitlines()]
    assert all(len(row) == 4 and row[0] == "meetings/monday.mp4" for row in rows)
    watched = dict(line.split("\t")[::-1] for line in recipe("coverage.ratio", home).splitlines())
    assert watched.keys() == {"recordings/a.mp4", "recordings/by day/my talk.mp4"}
    assert all(float(ratio) > 0.9 for ratio in watched.values())


def test_the_tasks_of_a_meeting_are_rows(home):
    (line,) = [line for line in BASH if "action_items" in line]
    if shutil.which("jq") is None:
        pytest.skip("jq is not there")
    task = {"at": None, "task": "ship it", "owner": "Ann", "deadline": None}
    answers = [{"id": "topics", "data": [{"topic": "x"}]}, {"id": "action_items", "data": [task]}]
    results = [{"input": {"path": "m.mp4"}, "answers": answers}, {"input": {"path": "n.mp4"}, "answers": None}]
    (home / "results.jsonl").write_text("".join(json.dumps(result) + "\n" for result in results))
    done = run(f"cat results.jsonl | {line.split('-o - |')[1].strip()}", home)
    assert (done.returncode, done.stdout) == (0, "m.mp4\tship it\tAnn\t\n"), done.stderr


@pytest.mark.slow
def test_a_table_of_meetings(home):
    assert "all.csv" in recipe("all.csv", home)
    rows = list(csv.DictReader((home / "all.csv").open(encoding="utf-8-sig")))
    assert {row["file"] for row in rows} == {"meetings/monday.mp4"}
    assert {"decisions", "action_items"} <= {row["question"] for row in rows}
