"""The overlap benchmark: the same is the same, a difference is seen, and the defaults hold what they promise."""

import pytest

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.overlap import Overlap, bench_overlap, shared
from omnimem_cli.bench.tables import overlap_table
from omnimem_cli.models.loader import load

EXACT = "omnimem:stride=1:carry=100"


def test_shared_is_the_mean_over_layers_of_what_the_reference_keeps():
    assert shared([{1, 2, 3, 4}, {1, 2}], [{1, 2, 3, 9}, {5}]) == pytest.approx((3 / 4 + 0) / 2)


def test_the_exact_form_overlaps_with_itself_wholly_and_with_another_rule_in_part(tiny_adapter):
    overlap = Overlap(EXACT, [EXACT, "omnimem:neighbours=time:carry=100"], "1/4", videos=1, events=4, seed=60_000)
    result = bench_overlap(tiny_adapter, overlap, Settings(max_pixels=56 * 56, av_ratio=0.1), lambda _: None)
    same, other = result["rows"]
    assert same["overlap"] == same["least"] == 1.0 and 0.2 < other["overlap"] < 0.9
    assert EXACT in overlap_table(result)


@pytest.mark.slow
def test_the_default_keeps_96_in_100_of_what_the_exact_form_keeps_after_20_chunks():
    overlap = Overlap(EXACT, ["omnimem"], "1/4", videos=2, events=40, seed=60_000)
    result = bench_overlap(load("nano", device="cpu"), overlap, Settings(), lambda _: None)
    assert result["chunks"] >= 20 and result["rows"][0]["overlap"] >= 0.96
