"""The Dockerfile builds what the README installs, of files that exist, for a user that is not root."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / ".ci" / "Dockerfile"
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KNOWN = {
    *("ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "ENTRYPOINT", "CMD", "LABEL", "EXPOSE"),
    *("ADD", "SHELL", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD"),
}


def instructions() -> list[tuple[str, str]]:
    """(Instruction, what follows it), a continued line as one."""
    lines = [line for line in FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.splitlines() if line)]


def of(word: str) -> list[str]:
    return [rest for one, rest in instructions() if one == word]


def copied() -> list[str]:
    """What comes from the clone."""
    return [name for rest in of("COPY") if "--from" not in rest for name in rest.split()[:-1]]


def test_every_instruction_is_known():
    assert {word for word, _ in instructions()} <= KNOWN


def test_every_file_that_is_copied_exists_and_is_not_ignored():
    ignored = FILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    for name in copied():
        assert (ROOT / name).exists() and f"!{name}" in ignored, name
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())


def test_the_base_is_a_version_that_the_package_takes():
    (version,) = [rest.split("=")[1] for rest in of("ARG") if rest.startswith("PYTHON=")]
    least = PROJECT["requires-python"].removeprefix(">=")
    assert [int(part) for part in version.split(".")] >= [int(part) for part in least.split(".")]
    assert all(re.match(r"python:\$\{PYTHON\}-slim-\w+( AS \w+)?$", base) for base in of("FROM"))
    assert "latest" not in " ".join(of("FROM"))


def test_it_installs_as_the_readme_does():
    installs = [part for rest in of("RUN") for part in rest.split(" && ") if part.startswith("pip install")]
    told = re.findall(r"pip install 'torch[^`\n]*", README)
    assert [installs[0].replace('"', "").replace("${TORCH}", "cpu")] == told
    (default,) = {rest for rest in of("ARG") if rest.startswith("TORCH=")}
    assert default == "TORCH=cpu"
    assert installs[1:] == ["pip install ."] and "\npip install . && omnimem demo\n" in README
    (bounds,) = [one for one in PROJECT["dependencies"] if one.startswith("torch")]
    assert f"'torch{bounds.split(',')[1]}'" in installs[0]


def test_it_runs_omnimem_as_a_user_with_a_volume_for_models():
    last = instructions()[len(instructions()) - [word for word, _ in reversed(instructions())].index("FROM") :]
    assert ("USER", "1000") in last and ("ENTRYPOINT", '["omnimem"]') in last
    (volume,) = of("VOLUME")
    assert f"HF_HOME={volume}" in " ".join(of("ENV"))
    assert all(path in " ".join(of("RUN")) for path in (volume, of("WORKDIR")[-1]))  # they belong to the user


def test_the_linter_has_nothing_to_say():
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not there")
    done = subprocess.run(["hadolint", str(FILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build_the_package(tmp_path):
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / "source" / name, symlinks=True)
        else:
            (tmp_path / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(tmp_path / "source")], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "omnimem_cli/_presets/meeting.yaml" in names and "omnimem_cli/models/nano/model.safetensors" in names
    (page,) = [name for name in names if name.endswith("omnimem.1")]
    assert page.endswith(".data/data/share/man/man1/omnimem.1")
