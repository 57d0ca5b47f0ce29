"""``omnimem models list`` and ``show``: what a person reads to choose a model."""

import json
import shutil
from pathlib import Path

import pytest
from fake_run import omnimem

from omnimem_cli.commands.models import HEAD
from omnimem_cli.models.catalogue import ROWS

EVERYTHING = (
    "name", "hub_id", "licence", "params_b", "download_gb", "weights_gb", "visual_rate", "audio_rate", "entry_bytes",
    "budget", "fps", "installed",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    held: dict[str, Path] = {}
    monkeypatch.setattr("omnimem_cli.models.hub.cached", lambda hub_id: held.get(hub_id))
    return held


def test_the_list_as_json_says_everything_of_every_row(capsys):
    assert omnimem("models", "list", "-f", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [fact["name"] for fact in told] == [row.name for row in ROWS]
    for fact, row in zip(told, ROWS, strict=True):
        assert set(EVERYTHING) <= fact.keys()
        assert fact["entry_bytes"] == row.entry_bytes() and fact["weights_gb"]["bfloat16"] > 0


def test_the_table_says_what_helps_to_choose_in_100_columns(capsys):
    assert omnimem("models", "list") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["qwen2.5-omni-7b", "", "8.9 B", "22.4 GB", "17.9 GB", "149.5+25", "56 KiB", "Apache-2.0"]
    assert rows[-1] == ["nano", "yes", "4 M", "built in", "8 MB", "4+10", "6 KiB", "Apache-2.0"]
    widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= 100


def shown(name: str, capsys) -> dict:
    assert omnimem("models", "show", name, "-f", "json") == 0
    return json.loads(capsys.readouterr().out)


def test_show_says_everything_of_a_name_or_a_hub_id_of_the_list(capsys):
    fact = shown("qwen2.5-omni-3b", capsys)
    assert set(EVERYTHING) <= fact.keys() and not fact["installed"]
    assert fact["entry_bytes"] == 36 * 1024 and fact["weights_gb"]["bfloat16"] == 9.4
    assert shown("Qwen/Qwen2.5-Omni-3B", capsys) == fact


@pytest.mark.parametrize("layout", ["tiny_folder", "tiny_full_folder"])
def test_show_measures_a_folder_and_a_repository_that_is_here(layout, request, nothing_is_cached, capsys):
    folder = request.getfixturevalue(layout)
    fact = shown(str(folder), capsys)
    assert (fact["layers"], fact["kv_heads"], fact["head_dim"]) == (4, 2, 16)
    assert fact["entry_bytes"] == 2 * 4 * 2 * 16 * 2 and fact["family"] == "qwen2.5-omni" and fact["params_b"] > 0
    nothing_is_cached["some/finetune"] = folder
    named = {"name": "some/finetune", "hub_id": "some/finetune"}
    assert shown("some/finetune", capsys) == fact | named


@pytest.mark.parametrize(
    "change", [{"text_config": "x"}, {"text_config": {"num_attention_heads": "4", "hidden_size": 64}}], ids=str
)
def test_show_leaves_open_what_a_config_does_not_tell(change, tiny_folder, tmp_path, capsys):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    fact = shown(str(folder), capsys)
    assert fact["layers"] is None and fact["entry_bytes"] is None and fact["params_b"] > 0


def test_show_says_how_to_get_a_repository_that_is_not_here(capsys):
    assert omnimem("models", "show", "some/finetune") == 5
    assert "omnimem models pull some/finetune" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["option", "environment"])
def test_an_offline_pull_does_not_say_that_it_downloads(way, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", way == "environment")
    assert omnimem("models", "pull", "qwen2.5-omni-3b", *["--offline"] * (way == "option")) == 5
    said = capsys.readouterr().err
    assert "offline mode is on" in said and "Downloading" not in said
