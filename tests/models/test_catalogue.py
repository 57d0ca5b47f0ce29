"""The catalogue: what a person reads before downloading gigabytes."""

import subprocess
import sys

import pytest
from streams import media_of

from omnimem_cli.base.errors import UsageError
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.catalogue import ROWS, row, row_for_unlisted
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.models.folder import read_checkpoint
from omnimem_cli.models.loader import NANO, load
from omnimem_cli.world.mp4 import PICTURE_SIZE


def test_the_catalogue_imports_no_torch():
    code = "import sys, omnimem_cli.models.catalogue, omnimem_cli.models.hub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_every_row_is_complete():
    assert len({r.name for r in ROWS}) == len(ROWS)
    for candidate in ROWS:
        assert candidate.fps >= 1 and candidate.budget > 0 and candidate.max_pixels > 0 and candidate.licence
        assert (candidate.hub_id is None) == (candidate.name == "nano")


def test_an_entry_costs_what_the_geometry_says():
    assert row("qwen2.5-omni-3b").entry_bytes() == 36 * 1024
    assert row("qwen2.5-omni-7b").entry_bytes() == 56 * 1024
    assert row("qwen2.5-omni-7b").entry_bytes("float32") == 112 * 1024
    assert row_for_unlisted("mine", "qwen2.5-omni").entry_bytes() is None


def test_fewer_bits_help_as_much_as_there_are_linear_layers_to_hold_in_them():
    dense, experts = row("video-salmonn2-plus-72b"), row("qwen3-omni-30b-a3b")
    assert dense.weights_gb("int8") == pytest.approx(78.5, rel=0.02)
    assert dense.weights_gb("int4") == pytest.approx(47.8, rel=0.02)
    assert experts.weights_gb("int4") > 0.95 * experts.weights_gb("bfloat16"), "its experts stay whole"


def test_nanos_row_is_that_of_its_config():
    text = read_checkpoint(NANO).config["text_config"]
    nano = row("nano")
    assert (nano.layers, nano.kv_heads) == (text["num_hidden_layers"], text["num_key_value_heads"])
    assert nano.head_dim == text["head_dim"]


def test_names_and_hub_ids_find_rows_whatever_their_case():
    assert row("Qwen2.5-Omni-7B") is row("qwen/qwen2.5-omni-7b") is row("qwen2.5-omni-7b")
    with pytest.raises(UsageError):
        row("qwen2.5-omni")


def rates(adapter, width: int, height: int) -> tuple[float, float]:
    """Tokens per second of picture and of sound that the adapter plans, for a long video of that size."""
    plan = adapter.plan(media_of(600, 600, width, height), WatchOptions())
    seconds = plan.format.segment_s
    return plan.visual_tokens_per_segment / seconds, plan.audio_tokens_per_segment / seconds


@pytest.mark.parametrize("name", [r.name for r in ROWS if r.name != "nano"])
def test_token_rates_are_those_of_a_plan(name):
    assert rates(random_adapter(name, device="meta"), 640, 360) == (row(name).visual_rate, row(name).audio_rate)


def test_nanos_token_rates_are_those_of_its_worlds_picture():
    nano = load("nano", device="cpu")
    assert rates(nano, PICTURE_SIZE, PICTURE_SIZE) == (row("nano").visual_rate, row("nano").audio_rate)
