"""What a newcomer types from the README's first screen: every command as it is printed, from the clone to an answer."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hub_stub import HubStub

ROOT = Path(__file__).parents[1]
SCREEN = (ROOT / "README.md").read_text("utf-8").split("## The three tasks")[0]
CLONE, DEMO, TESTS, VIDEO = re.findall(r"^```bash\n(.*?)^```", SCREEN, flags=re.MULTILINE | re.DOTALL)
REAL, REPOSITORY = "qwen2.5-omni-3b", "Qwen/Qwen2.5-Omni-3B"
URL = "<URL of this repository>"
NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}


def bash(script: str, folder: Path, **more: str) -> str:
    """What a script prints, in a new shell without the variables of these tests."""
    home = {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    rest = {"LANG": "C.UTF-8", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "")}
    kept = {name: value for name, value in (home | rest | more).items() if value}
    done = subprocess.run(["bash", "-euc", script], cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone after the quick start, whose environment has its dependencies from this one, without the network."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    pytest.importorskip("setuptools", "77")  # it builds the package, which nothing isolates here
    others = f"import sys; sys.path.insert(0, '{sysconfig.get_path('purelib')}')"
    dependencies = f'(cd .venv/lib/python3*/site-packages && echo "{others}" > others.pth)'
    folder = tmp_path_factory.mktemp("newcomer")
    shown = bash("\n".join((CLONE.replace(URL, str(ROOT)), dependencies, DEMO)), folder, **NO_NETWORK)
    assert "# demo.mp4" in shown and "Memory" in shown
    return folder / "omnimem"


def test_command_two_is_the_one_that_ci_runs():
    assert "pytest" in TESTS and "readme_command two" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("model", [REAL, "nano"])
def test_the_first_screen_leads_to_an_answer_about_a_video(model, clone, tiny_full_folder):
    hub = HubStub(REPOSITORY, {file.name: file.read_bytes() for file in tiny_full_folder.iterdir()})
    for file in clone.glob("lecture.*"):
        file.unlink()
    shutil.copy(ROOT / "omnimem_cli" / "world" / "demo.mp4", clone / "lecture.mp4")
    lines = VIDEO.replace(REAL, model).splitlines()
    if model == "nano":
        assert lines.pop(0).startswith("omnimem models pull")  # it is built in
    shown = bash(
        ". .venv/bin/activate\n" + "\n".join(lines), clone, HF_ENDPOINT=hub.url, HF_HOME=str(clone.parent / "weights")
    )
    assert "lecture.summary.md" in shown and "lecture.answers.md" in shown
    answers = (clone / "lecture.answers.md").read_text("utf-8")
    assert "What is shown at the beginning?" in answers and model in answers
    hub.shutdown()
