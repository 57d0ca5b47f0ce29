"""Downloading weights: from a local stand-in for the hub, broken off and resumed, offline."""

import errno
import json
import os
import subprocess
import sys

import pytest
from hub_stub import COMMIT, HubStub

from omnimem_cli.base.errors import MissingError
from omnimem_cli.models import download
from omnimem_cli.models.catalogue import row, row_for_unlisted

REPO = "Qwen/Qwen2.5-Omni-3B"
SHARDS = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


def shard(name: str, size: int) -> bytes:
    """A safetensors file of one tensor of that many bytes."""
    header = json.dumps({name: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


FILES = {
    "config.json": b'{"model_type": "qwen2_5_omni"}',
    "model.safetensors.index.json": json.dumps({"weight_map": SHARDS}).encode(),
    SHARDS["a"]: shard("a", 2**20),
    SHARDS["b"]: shard("b", 25 * 2**20),
    "spk_dict.pt": b"a pickle that nobody asked for",
    "modeling.py": b"raise SystemExit",
}
PULL = """
import sys
from omnimem_cli.base.errors import UserError
from omnimem_cli.models import download, hub
from omnimem_cli.models.catalogue import row
try:
    print(download.pull(row("qwen2.5-omni-3b")))
except UserError as error:
    print(error.message, error.hint)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def stub():
    server = HubStub(REPO, FILES)
    yield server
    server.shutdown()
    server.server_close()


def pull(home, url, **extra) -> subprocess.CompletedProcess:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    env = os.environ | quiet | {"HF_HOME": str(home), "HF_ENDPOINT": url} | extra
    return subprocess.run([sys.executable, "-c", PULL], env=env, capture_output=True, text=True, timeout=120)


def test_a_pull_takes_weights_and_settings_and_no_code(stub, tmp_path):
    done = pull(tmp_path, stub.url)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "hub" / "models--Qwen--Qwen2.5-Omni-3B" / "snapshots" / COMMIT
    assert done.stdout.strip() == str(folder)
    wanted = {name: data for name, data in FILES.items() if name.endswith((".json", ".safetensors"))}
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == wanted


def fetched(stub) -> list[tuple[str, str | None]]:
    """(file, range) of every download asked for."""
    return [(path.rsplit("/", 1)[1], r) for method, path, r in stub.asked if method == "GET" and "/resolve/" in path]


def test_a_connection_that_breaks_off_is_resumed_where_it_broke(stub, tmp_path):
    stub.breaks["model-00002-of-00002.safetensors"] = 11 * 2**20
    assert pull(tmp_path, stub.url).returncode == 0
    starts = [int(r[6:].split("-")[0]) for name, r in fetched(stub) if "00002-of" in name and r]
    assert starts and min(starts) >= 10 * 2**20


def test_a_pull_that_failed_is_one_sentence_and_the_next_one_fetches_the_rest(stub, tmp_path):
    stub.breaks["model-00002-of-00002.safetensors"] = 0
    failed = pull(tmp_path, stub.url)
    assert failed.returncode == 5 and "finished files are kept" in failed.stdout and "Traceback" not in failed.stderr
    stub.breaks.clear()
    stub.asked.clear()
    assert pull(tmp_path, stub.url).returncode == 0
    assert {name for name, _ in fetched(stub)} == {"model-00002-of-00002.safetensors"}


def test_offline_mode_says_what_is_missing_and_asks_nobody(stub, tmp_path):
    done = pull(tmp_path, stub.url, HF_HUB_OFFLINE="1")
    assert done.returncode == 5 and "Traceback" not in done.stderr
    assert "offline mode is on" in done.stdout and "network" not in done.stdout
    assert stub.asked == []


def test_offline_mode_does_not_take_half_a_download_for_a_whole_one(stub, tmp_path):
    stub.breaks[SHARDS["b"]] = 0
    assert pull(tmp_path, stub.url).returncode == 5
    done = pull(tmp_path, stub.url, HF_HUB_OFFLINE="1")
    assert done.returncode == 5 and SHARDS["b"] in done.stdout


def test_what_was_pulled_is_found_offline(stub, tmp_path):
    assert pull(tmp_path, stub.url).returncode == 0
    asked = len(stub.asked)
    done = pull(tmp_path, stub.url, HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and done.stdout.strip().endswith(COMMIT) and len(stub.asked) == asked


def test_an_adapter_of_a_base_that_no_hub_could_have_is_refused(tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/their/disk/base"}')
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda hub_id, **more: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(MissingError, match="/their/disk/base, which is no repository"):
        download.pull(row_for_unlisted("some/lora", "qwen2.5-omni", "some/lora"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_a_full_disk(number, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fill)
    with pytest.raises(MissingError) as caught:
        download.pull(row("qwen2.5-omni-3b"))
    assert "is full" in caught.value.message and "HF_HOME" in caught.value.hint
    assert "network" not in caught.value.message + caught.value.hint
