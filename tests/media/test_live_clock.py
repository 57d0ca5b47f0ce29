"""The live clock: stream time from stamps that jump, and from connections that break."""

import pytest

from omnimem_cli.media.live_clock import LiveClock


class Now:
    """A clock that a test sets."""

    def __init__(self):
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now():
    return Now()


def play(clock, now, begin_s, seconds, stream="picture", step_s=0.5):
    """Stamps from ``begin_s`` on, as they come; the stream times."""
    places = []
    for count in range(round(seconds / step_s)):
        places.append(clock.place(stream, begin_s + count * step_s))
        now.s += step_s
    return places


def test_stream_time_begins_at_the_first_frame(now):
    assert play(LiveClock(now), now, 5000.0, 2.0) == [0.0, 0.5, 1.0, 1.5]


def test_a_break_has_its_true_length_when_the_source_restarts_its_clock(now):
    clock = LiveClock(now)
    play(clock, now, 5000.0, 10.0)
    now.s += 20.0
    clock.connected()
    assert clock.place("picture", 3.0) == pytest.approx(30.0)


def test_what_opening_took_is_no_part_of_the_break(now):
    clock = LiveClock(now)
    play(clock, now, 5000.0, 10.0)
    now.s += 25.0  # 20 s of break, and 5 s that were buffered while the connection was opened
    clock.connected(newest_s=8.0)
    assert clock.place("picture", 3.0) == pytest.approx(30.0)


def test_a_source_that_kept_its_clock_goes_on_with_it(now):
    clock = LiveClock(now)
    play(clock, now, 5000.0, 10.0)
    now.s += 20.0
    clock.connected(newest_s=5021.0)
    assert clock.place("picture", 5018.0) == pytest.approx(18.0)


def test_a_playlist_that_begins_with_what_was_seen_is_known_by_its_stamps(now):
    clock = LiveClock(now)
    play(clock, now, 5000.0, 20.0)
    clock.connected(rewinds=True)
    assert clock.place("picture", 5012.0) == pytest.approx(12.0)


def test_a_clock_that_goes_back_is_told_and_stream_time_goes_on(now):
    clock = LiveClock(now)
    play(clock, now, 5000.0, 10.0)
    assert play(clock, now, 2000.0, 1.0) == pytest.approx([10.0, 10.5])
    assert [round(jump.by_s) for jump in clock.jumps] == [-3010]


def test_a_clock_that_leaps_is_told_and_stream_time_goes_on(now):
    clock = LiveClock(now)
    play(clock, now, 0.0, 10.0)
    assert play(clock, now, 9000.0, 1.0) == pytest.approx([10.0, 10.5])
    assert [round(jump.by_s, 1) for jump in clock.jumps] == [8990.5]


def test_two_streams_that_jump_together_stay_together(now):
    clock = LiveClock(now)
    for count in range(20):
        clock.place("picture", count * 0.5)
        clock.place("sound", count * 0.5 + 0.1)
        now.s += 0.5
    picture = clock.place("picture", 7000.0)
    assert clock.place("sound", 7000.1) - picture == pytest.approx(0.1)
    assert len(clock.jumps) == 1


def test_stamps_that_stop_for_a_while_are_no_jump(now):
    clock = LiveClock(now)
    play(clock, now, 0.0, 10.0)
    now.s += 60.0
    assert clock.place("picture", 70.0) == pytest.approx(70.0)
    assert clock.jumps == []


def test_nothing_comes_before_its_time(now):
    clock = LiveClock(now)
    clock.place("picture", 0.0)
    clock.place("picture", 4.0)  # a burst: it was filmed before it came
    assert clock.now_s() == pytest.approx(4.0)


def test_the_time_between_two_processes_counts(now, monkeypatch):
    clock = LiveClock(now)
    monkeypatch.setattr("omnimem_cli.media.live_clock.time.time", lambda: 1_000_000.0 + now.s)
    play(clock, now, 0.0, 10.0)
    state = clock.state()
    now.s += 30.0
    after = LiveClock(now)
    after.load_state(state)
    after.connected()
    assert after.place("picture", 700.0) == pytest.approx(40.0, abs=0.6)
