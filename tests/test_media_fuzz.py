"""Damaged media end in segments or in one typed error; the fuzzer would notice if they did not."""

import json

import numpy as np
import psutil
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.bench import fuzz as fuzzing
from omnimem_cli.errors import InputError


def test_damaged_files_neither_crash_nor_hang(tmp_path):
    outcome = fuzzing.fuzz(tmp_path, cases=24, seed=3)
    assert outcome.crashes == [] and outcome.hangs == []
    assert outcome.cases == sum(outcome.outcomes.values()) == 24
    assert outcome.peak_mib < 200
    assert psutil.Process().children() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(fuzzing.SEEDS)


def test_the_same_seed_damages_alike_and_every_damage_is_one():
    data = bytes(range(256)) * 20
    for case in range(50):
        one, two = (fuzzing.mutated(data, np.random.default_rng([1, case])) for _ in range(2))
        assert one == two
    for damage in fuzzing.DAMAGES:
        damaged = {damage(bytearray(data), np.random.default_rng(case)) for case in range(20)}
        assert len(damaged) > 10
        assert all(isinstance(damage(bytearray(short), np.random.default_rng(0)), bytes) for short in (b"", b"x"))


def test_crashes_and_hangs_are_counted_and_their_files_kept(tmp_path, monkeypatch):
    def broken(path, **kw):
        raise (KeyError("a bug") if path.endswith(".mp4") else InputError("fine", code="not_media"))

    monkeypatch.setattr(fuzzing, "probe", broken)
    outcome = fuzzing.fuzz(tmp_path, cases=4)
    assert outcome.outcomes == {"not_media": 3} and len(outcome.crashes) == 1
    assert "a bug" in outcome.crashes[0] and len(list(tmp_path.glob("case-*.mp4"))) == 1


def test_the_command_ends_within_its_time_and_prints_counts():
    result = CliRunner().invoke(app, ["bench", "fuzz", "--seconds", "2", "-q"])
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout.splitlines()[-1])
    assert counts["cases"] == sum(counts["outcomes"].values()) > 0
    assert counts["seconds"] < 60 and counts["crashes"] == counts["hangs"] == []
