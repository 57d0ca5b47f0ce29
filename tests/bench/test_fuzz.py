"""Damaged media end in segments or in one typed error; the fuzzer would notice if they did not."""

import json
import multiprocessing
import subprocess
import threading
import time
import wave

import numpy as np
import psutil
import pytest
from deadly import Deadly
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.base.errors import InputError
from omnimem_cli.bench import damage as damaging
from omnimem_cli.bench import fuzz as fuzzing
from omnimem_cli.media.probe import probe


def test_damaged_files_neither_crash_nor_hang(tmp_path):
    outcome = fuzzing.fuzz(tmp_path, cases=24, seed=3)
    assert outcome.crashes == [] and outcome.hangs == []
    assert outcome.cases == sum(outcome.outcomes.values()) == 24
    assert outcome.peak_mib < 200 and outcome.ffmpeg_peak_mib < psutil.Process().memory_info().rss / 2**20 + 500
    assert [child for child in psutil.Process().children() if "ffmpeg" in child.name()] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(damaging.SEEDS)


def test_the_same_seed_damages_alike_and_every_damage_is_one():
    data = bytes(range(256)) * 20
    for case in range(50):
        one, two = (damaging.mutated(data, np.random.default_rng([1, case])) for _ in range(2))
        assert one == two
    for damage in damaging.DAMAGES:
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


def slices(folder, workers, kind=fuzzing.Slice, cases=9):
    originals = damaging.make_seeds(folder)
    return [kind(folder, originals, 3, first, workers, cases, None) for first in range(workers)]


def ends_of(cases):
    """By number. Whether ffmpeg complains in time of what lies behind a stream's end is chance."""
    return {case.number: case.end.removesuffix(" with warnings") for case in cases}


def test_workers_share_the_cases_and_each_ends_as_with_one(tmp_path):
    (alone,) = slices(tmp_path, 1)
    shared = list(fuzzing._by_workers(slices(tmp_path, 2)))
    assert len(shared) == 9 and ends_of(shared) == ends_of(alone.run())
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_has_crashed_on_one_case(tmp_path):
    cases = {case.number: case for case in fuzzing._by_workers(slices(tmp_path, 1, Deadly, 4))}
    assert sorted(cases) == [0, 1, 2, 3]
    assert [n for n, case in cases.items() if case.end == fuzzing.CRASH] == [1] and "ended with 3" in cases[1].reason


def test_a_case_that_hangs_is_counted_and_its_processes_ended(tmp_path, monkeypatch):
    asleep, free = [], threading.Event()

    def hang(path, **kw):
        asleep.append(subprocess.Popen(["sleep", "60"]))
        free.wait(60)

    monkeypatch.setattr(fuzzing, "probe", hang)
    monkeypatch.setattr(fuzzing, "HANG_S", 0.5)
    outcome = fuzzing.fuzz(tmp_path, cases=1)
    free.set()
    assert len(outcome.hangs) == 1 and asleep[0].wait(30) < 0


@pytest.mark.parametrize(("busy", "end"), [(True, "fine"), (False, fuzzing.HANG)])
def test_what_a_case_waits_for_the_processor_does_not_make_it_hang(busy, end, tmp_path, monkeypatch):
    def slow(path, **kw):
        time.sleep(2.5)
        raise InputError("fine", code="fine")

    monkeypatch.setattr(fuzzing, "probe", slow)
    monkeypatch.setattr(fuzzing, "HANG_S", 1.0)
    monkeypatch.setattr(fuzzing, "_children", lambda: [2**22])  # nobody's
    monkeypatch.setattr(fuzzing, "waited_s", lambda pid: time.monotonic() if busy else 0.0)
    assert fuzzing._end_of(tmp_path)[0] == end
    time.sleep(0 if busy else 2)  # its thread ends with this test


def test_a_sample_rate_that_no_sound_has_is_damage_and_never_resampled(tmp_path):
    for rate in (768_000, 2_000_000_000):
        with wave.open(str(tmp_path / f"{rate}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(bytes(64_000))
    assert probe(str(tmp_path / "768000.wav")).audio.sample_rate == 768_000
    with pytest.raises(InputError) as error:  # for resampling it ffmpeg would take gigabytes
        probe(str(tmp_path / "2000000000.wav"))
    assert error.value.code == "no_decoder"


def test_the_command_ends_within_its_time_and_prints_counts():
    result = CliRunner().invoke(app, ["bench", "fuzz", "--seconds", "2", "-q"])
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout.splitlines()[-1])
    assert counts["cases"] == sum(counts["outcomes"].values()) > 0
    assert counts["seconds"] < 60 and counts["crashes"] == counts["hangs"] == []


def test_the_command_shares_its_cases_among_workers():
    result = CliRunner().invoke(app, ["bench", "fuzz", "--cases", "3", "--workers", "2", "-q", "-f", "json"])
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert counts["cases"] == 3 and counts["workers"] == 2
