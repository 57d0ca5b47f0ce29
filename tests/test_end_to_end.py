"""What users do and what users get wrong, through the real command line with the built-in model on real files."""

import os
from pathlib import Path

import pytest
import zoo

from omnimem_cli.app import run

WORLD = Path(__file__).parent.parent / "omnimem_cli" / "world"
DEMO = WORLD / "demo.mp4"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in an empty folder, without the user's configuration or network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def omnimem(*arguments: str) -> int:
    return run([*arguments, "-m", "nano"] if arguments[0] != "demo" else list(arguments))


def left_behind() -> list[str]:
    """Files that are neither inputs nor the user's own."""
    return sorted(p.name for p in Path().iterdir() if p.name not in (".omnimem", "config", "hub"))


BAD_INPUTS = {
    "missing": lambda folder: folder / "gone.mp4",
    "zero bytes": lambda folder: _written(folder / "empty.mp4", b""),
    "text named mp4": lambda folder: _written(folder / "notes.mp4", b"these are only notes\n" * 40),
    "an mp4 without its index": lambda folder: _written(folder / "cut.mp4", zoo.av(folder / "raw").read_bytes()[:4000]),
}


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("trait", BAD_INPUTS)
def test_a_bad_input_is_one_sentence_the_next_step_and_4(trait, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    path = BAD_INPUTS[trait](tmp_path)
    before = left_behind()
    assert omnimem("summarize", str(path)) == 4
    told = capsys.readouterr()
    assert path.name in told.err and "Traceback" not in told.err and told.out == ""
    assert left_behind() == before


def test_a_directory_without_r_is_2(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert omnimem("summarize", "folder") == 2
    assert "-r" in capsys.readouterr().err


def test_an_unknown_model_is_2_and_names_the_nearest(capsys):
    assert run(["summarize", str(DEMO), "-m", "qwen2.5-omni-8b"]) == 2
    assert "qwen2.5-omni" in capsys.readouterr().err


def test_a_model_without_weights_is_5_and_says_how_large_and_how_to_get_it(capsys):
    assert run(["summarize", str(DEMO), "-m", "qwen2.5-omni-3b"]) == 5
    told = capsys.readouterr().err
    assert "GB" in told and "omnimem models pull qwen2.5-omni-3b" in told and "omnimem demo" in told


def test_no_model_at_all_is_5_and_never_nano_unasked(capsys):
    assert run(["summarize", str(DEMO)]) == 5
    told = capsys.readouterr().err
    assert "omnimem models pull" in told and "omnimem demo" in told
    assert left_behind() == []


def test_a_budget_that_the_prompt_alone_exceeds_is_6(capsys):
    assert omnimem("summarize", str(DEMO), "--budget", "8KiB", "-o", "out") == 6
    assert "--budget" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_8_before_the_watch(tmp_path):
    (tmp_path / "sealed").mkdir(mode=0o500)
    assert omnimem("summarize", str(DEMO), "-o", "sealed") == 8


def test_an_output_path_below_a_file_is_8_before_the_watch(tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert omnimem("summarize", str(DEMO), "-o", "taken/out") == 8
    assert "Traceback" not in capsys.readouterr().err


def test_no_ffmpeg_at_all_is_5(monkeypatch, capsys):
    import imageio_ffmpeg

    from omnimem_cli.media import ffmpeg

    def absent() -> str:
        raise RuntimeError("no ffmpeg exe could be found")

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", absent)
    ffmpeg.ffmpeg_path.cache_clear() if hasattr(ffmpeg.ffmpeg_path, "cache_clear") else None
    assert omnimem("summarize", str(DEMO), "-o", "out") == 5
    assert "ffmpeg" in capsys.readouterr().err
