"""Transcripts: windows, pauses, the energy gate, and what becomes of bad answers."""

import random
from itertools import pairwise

import numpy as np
import pytest
from scripted import RATE, ScriptedSession, mute, segments_of, sound, watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.session import ChunkEnd
from omnimem_cli.tasks.loudness import Loudness, levels
from omnimem_cli.tasks.prompts import NOTHING_SAID, TRANSCRIBE
from omnimem_cli.tasks.transcribe import Transcribe
from omnimem_cli.world.words import WORDS, recording

LOUD, QUIET = 0.2, 0.0005  # about -19 and -71 dBFS


def run(
    parts, reply=lambda text: "Words.", per_chunk: int = 5, start_s: float = 0.0, segment_s: float = 2.0, **settings
):
    session = ScriptedSession(reply)
    task = Transcribe(Settings(**settings))
    part = watch(task, session, sound(start_s, parts, segment_s), per_chunk, segment_s)
    return part["transcript"], session.asked, task


def transcribe(wave: np.ndarray):
    """What becomes of samples in 2 s segments after a first pass over them."""
    segments = segments_of(wave)
    task, session = Transcribe(Settings()), ScriptedSession(lambda text: "Words.")
    for segment in segments:
        task.scan_audio(segment.audio)
    part = watch(task, session, segments, 5)
    return part["transcript"], session.asked, task.warnings


def room_noise(seconds: float, colour: float) -> np.ndarray:
    """Noise whose amplitude falls as f ** -colour above 20 Hz: 0 white, 0.5 pink, 1 brown."""
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    return np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0) ** colour, count)


def talk(seconds: float, seed: int = 1) -> np.ndarray:
    """Words of the generated world, with pauses between them."""
    draw, parts = random.Random(seed), []
    while sum(map(len, parts)) < seconds * RATE:
        parts += [recording(draw.choice(WORDS), "eval", 0), np.zeros(round(draw.uniform(0.05, 0.6) * RATE))]
    return np.concatenate(parts)[: round(seconds * RATE)]


def scaled(wave: np.ndarray, level_db: float) -> np.ndarray:
    """The samples at this level over their whole length, dBFS (rms)."""
    return wave * (10 ** (level_db / 20) / np.sqrt((wave**2).mean()))


def windows(asked) -> list[tuple[float, float]]:
    return [window for a in asked for window in a.whole]


def test_levels_are_decibels_of_full_scale():
    sign = np.tile([1.0, -1.0], 800)
    wave = np.concatenate([0.1 * sign, np.zeros(1600), sign[:800]]).astype(np.float32)
    assert levels(wave) == pytest.approx([-20.0, -120.0, 0.0], abs=0.01)


def test_every_second_of_sound_is_asked_about_once():
    _, asked, _ = run([(200.0, LOUD)])
    spans = windows(asked)
    assert (spans[0][0], spans[-1][1]) == (0.0, 200.0)
    assert all(before[1] == after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("per_chunk", [1, 3, 50])
def test_windows_do_not_depend_on_the_chunks(per_chunk):
    parts = [(31.3, LOUD), (0.5, QUIET)] * 6
    spans, before = (windows(run(parts, per_chunk=chunk)[1]) for chunk in (per_chunk, 5))
    assert [time for span in spans for time in span] == pytest.approx([time for span in before for time in span])
    assert all(end - start <= 30.0 + 1e-6 for start, end in spans)


def test_no_window_is_older_than_what_is_held_whole():
    _, asked, task = run([(31.3, LOUD), (0.5, QUIET)] * 6, per_chunk=5)
    assert task.recent_s == 30.0
    assert all(start >= a.at_s - 10.0 - task.recent_s for a in asked for start, _ in a.whole)


def test_a_chunk_asks_all_its_windows_at_once():
    _, asked, _ = run([(100.0, LOUD)], per_chunk=50)
    assert [len(a.whole) for a in asked] == [len(windows(asked))] and len(windows(asked)) > 3
    assert all(a.texts == [TRANSCRIBE] * len(a.whole) for a in asked)


def test_no_window_is_longer_than_the_model_hears_at_once():
    session, task = ScriptedSession(lambda text: "Words.", window_s=12.0), Transcribe(Settings())
    watch(task, session, sound(0.0, [(60.0, LOUD)]), 2)
    assert all(end - start <= 12.0 + 1e-6 for start, end in windows(session.asked))


def test_windows_are_cut_in_the_pauses():
    _, asked, _ = run([(20.0, LOUD), (0.4, QUIET)] * 6)
    for _, end in windows(asked)[:-1]:
        assert 20.0 <= end % 20.4 <= 20.4


def test_a_single_quiet_block_is_no_pause():
    _, asked, _ = run([(18.0, LOUD), (0.1, QUIET), (5.9, LOUD), (0.4, QUIET), (35.6, LOUD)])
    assert 24.0 <= windows(asked)[0][1] <= 24.4


def test_silence_is_not_asked_about():
    transcript, asked, task = run([(90.0, QUIET)], reply=lambda text: "Thanks for watching!")
    assert (transcript["segments"], asked) == ([], [])
    assert [w["code"] for w in task.warnings] == ["silent"]


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("level_db", [-60.0, -56.0])
def test_the_noise_of_a_room_is_skipped_without_a_word(colour, level_db):
    _, asked, warnings = transcribe(scaled(room_noise(60.0, colour), level_db))
    assert (asked, [w["code"] for w in warnings]) == ([], ["silent"])


@pytest.mark.parametrize("above_noise_db", [10.0, 16.0])
def test_quiet_speech_that_is_skipped_is_told_in_seconds(above_noise_db):
    loud, quiet = scaled(talk(30.0), -20.0), scaled(talk(60.0, seed=2), -78.0 + above_noise_db)
    hiss = scaled(room_noise(90.0, 0.5), -78.0)
    _, asked, warnings = transcribe(np.concatenate([loud, quiet]) + hiss)
    assert [w["code"] for w in warnings] == ["quiet_skipped"] and all(start < 30.0 for start, _ in windows(asked))
    assert 10 <= int(warnings[0]["message"].split(" s ")[0]) <= 60


def test_clicks_in_a_quiet_room_are_no_skipped_speech():
    wave = scaled(room_noise(60.0, 0.5), -70.0)
    for second in range(60):
        wave[second * RATE : second * RATE + 800] *= 5
    assert transcribe(np.concatenate([scaled(talk(30.0), -20.0), wave]))[2] == []


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("scanned", [True, False])
def test_speech_is_found_however_quiet_the_recording(gain, scanned):
    parts = [(31.0, 0.002 * gain), (1.0, LOUD * gain), (59.0, 0.002 * gain), (2.0, LOUD * gain)]
    session, task = ScriptedSession(lambda text: "Words."), Transcribe(Settings())
    segments = sound(0.0, parts)
    for segment in segments if scanned else ():
        task.scan_audio(segment.audio)
    found = watch(task, session, segments, 5)["transcript"]["segments"]
    assert [(words["start_s"], words["end_s"]) for words in found] == [(31.0, 32.0), (91.0, 93.0)]


def test_digital_silence_is_skipped_without_a_word():
    _, asked, task = run([(60.0, 0.0), (4.0, LOUD)])
    assert len(asked) == 1 and task.warnings == []


@pytest.mark.parametrize("offset", [0.1, -0.5])
def test_an_offset_is_no_sound(offset):
    segments = sound(0.0, [(60.0, QUIET), (3.0, LOUD)])
    for segment in segments:
        segment.audio += np.float32(offset)
    session, task = ScriptedSession(lambda text: "Words."), Transcribe(Settings())
    assert [(s["start_s"], s["end_s"]) for s in watch(task, session, segments, 5)["transcript"]["segments"]] == [
        (60.0, 63.0)
    ]


def test_the_noise_of_an_overdriven_recording_is_no_speech():
    segments = sound(0.0, [(60.0, QUIET), (3.0, LOUD), (60.0, QUIET)])
    session, task = ScriptedSession(lambda text: "Words."), Transcribe(Settings())
    for segment in segments:
        segment.audio = np.clip(segment.audio * 100, -1, 1)
        task.scan_audio(segment.audio)
    assert [(s["start_s"], s["end_s"]) for s in watch(task, session, segments, 5)["transcript"]["segments"]] == [
        (60.0, 63.0)
    ]


def test_what_a_detector_calls_speech_is_asked_about_however_quiet():
    segments = sound(0.0, [(20.0, QUIET / 10)])
    session, task = ScriptedSession(lambda text: "Words."), Transcribe(Settings())
    task.heard.speech = lambda audio: np.ones(-(-len(audio) // 1600), bool)
    assert len(watch(task, session, segments, 5)["transcript"]["segments"]) == 1


def test_a_click_is_not_asked_about():
    _, asked, _ = run([(5.0, QUIET), (0.1, LOUD), (20.0, QUIET)])
    assert asked == []


def test_a_file_without_sound_gives_an_empty_transcript():
    session, task = ScriptedSession([]), Transcribe(Settings())
    part = watch(task, session, mute(0.0, 60.0), 5)
    assert part == {"transcript": {"language": None, "segments": [], "subtitles": None}}
    assert [w["code"] for w in task.warnings] == ["no_sound"]


def test_segments_are_trimmed_to_where_the_sound_is():
    transcript, _, _ = run([(3.0, QUIET), (4.0, LOUD), (5.0, QUIET)])
    assert transcript["segments"] == [{"start_s": 3.0, "end_s": 7.0, "text": "Words."}]


def test_times_keep_the_clock_of_the_file():
    transcript, _, _ = run([(3.0, QUIET), (4.0, LOUD)], start_s=600.0)
    assert (transcript["segments"][0]["start_s"], transcript["segments"][0]["end_s"]) == (603.0, 607.0)


@pytest.mark.parametrize("reply", [NOTHING_SAID, "No speech.", "", "  "])
def test_nothing_said_gives_no_segment(reply):
    transcript, asked, task = run([(10.0, LOUD)], reply=[reply])
    assert (transcript["segments"], len(asked)) == ([], 1)
    assert [w["code"] for w in task.warnings] == ["silent"]


def test_a_loop_is_cut_and_flagged_with_its_time():
    transcript, _, task = run([(10.0, LOUD)], reply=[Answer("thank you " * 90, 384, False)] * 2)
    assert transcript["segments"][0]["text"] == "thank you"
    assert [w["code"] for w in task.warnings] == ["repetition"]
    assert "0:00–0:10" in task.warnings[0]["message"]


def test_invented_turns_are_no_speech():
    transcript, _, _ = run([(10.0, LOUD)], reply=["Hello\nthere.\nHuman: what else?"])
    assert transcript["segments"][0]["text"] == "Hello there."


def test_spoken_language_and_glossary_go_into_the_question():
    transcript, asked, _ = run([(10.0, LOUD)], spoken_language="ja", glossary=("Kyoto",), language="de")
    assert asked[0].texts == [f"{TRANSCRIBE} The speech is in Japanese. Names and terms that may occur: Kyoto."]
    assert transcript["language"] == "ja"


def test_loudness_remembers_no_more_than_a_window():
    session, task = ScriptedSession(lambda text: "x"), Transcribe(Settings())
    longest = 0
    for i in range(300):
        segment = sound(i * 2.0, [(2.0, LOUD)])
        task.on_chunk(session, ChunkEnd(i, 0.0, (i + 1) * 2.0, False), segment)
        longest = max(longest, len(task.heard.levels))
    assert longest <= 301


def test_a_gap_in_the_sound_counts_as_silence():
    heard = Loudness()
    tone = np.tile(np.array([0.1, -0.1], np.float32), 8000)
    heard.add(0.0, tone)
    heard.add(3.0, tone)
    assert heard.end_s == pytest.approx(4.0)
    assert heard.speech_span(1.0, 3.0, -50.0) is None
    assert heard.speech_span(0.0, 4.0, -50.0) == (0.0, pytest.approx(4.0))


def test_a_resumed_task_goes_on_where_it_was():
    parts = [(20.0, LOUD), (0.4, QUIET)] * 5
    segments = sound(0.0, parts)
    whole, _, _ = run(parts)
    first, session = Transcribe(Settings()), ScriptedSession(lambda text: "Words.")
    for i in range(0, 25, 5):
        first.on_chunk(session, ChunkEnd(i, 0.0, segments[i + 4].start_s + 2.0, False), segments[i : i + 5])
    second = Transcribe(Settings())
    second.load_state(first.state())
    assert watch(second, session, segments[25:], 5)["transcript"] == whole


FACTS = {"file": "a.srt", "stream": None, "language": "eng", "format": "srt"}
LINES = [{"start_s": 1.0, "end_s": 2.0, "text": "Hello there."}, {"start_s": 15.0, "end_s": 16.0, "text": "Bye."}]


def test_subtitles_in_use_are_the_transcript_and_nothing_is_asked():
    task, session = Transcribe(Settings(subtitles="use", spoken_language="de")), ScriptedSession([])
    task.take_subtitles(FACTS | {"role": "transcript"}, LINES)
    assert not task.needs_watch and not task.needs_audio_scan
    part = watch(task, session, sound(0.0, [(20, LOUD)]))
    assert part["transcript"]["segments"] == LINES and session.asked == []
    assert part["transcript"]["language"] == "eng" and part["transcript"]["subtitles"]["role"] == "transcript"


def test_subtitles_as_a_hint_are_in_the_question_of_their_window():
    task, session = Transcribe(Settings(subtitles="hint"), window_s=10.0), ScriptedSession(lambda text: "words")
    task.take_subtitles(FACTS | {"role": "hint"}, LINES)
    part = watch(task, session, sound(0.0, [(20, LOUD)]))
    asked = [asked.texts[0] for asked in session.asked]
    assert "may be wrong: Hello there." in asked[0] and "Bye." not in asked[0]
    assert "Bye." in asked[-1] and "Hello" not in asked[-1]
    assert part["transcript"]["subtitles"]["role"] == "hint"
    assert {segment["text"] for segment in part["transcript"]["segments"]} == {"words"}


@pytest.mark.parametrize("role", ["transcript", "hint"])
def test_subtitles_survive_a_checkpoint(role):
    before, after = Transcribe(Settings()), Transcribe(Settings())
    before.take_subtitles(FACTS | {"role": role}, LINES)
    after.load_state(before.state())
    assert after.state() == before.state() and after.subtitles["role"] == role


@pytest.mark.parametrize(("pictures", "code"), [([], "no_subtitles"), (["dvd_subtitle"], "picture_subtitles")])
def test_without_usable_subtitles_the_model_is_asked_and_that_is_said(pictures, code):
    task, session = Transcribe(Settings(subtitles="use")), ScriptedSession(lambda text: "words")
    task.take_no_subtitles(pictures)
    part = watch(task, session, sound(0.0, [(4, LOUD)]))
    assert [note["code"] for note in task.warnings] == [code] and session.asked
    assert part["transcript"]["subtitles"] is None


def waited(parts, per_chunk: int, **scripted):
    """What a transcript asks whose windows have room to wait."""
    session, task = ScriptedSession(lambda text: "Words.", **scripted), Transcribe(Settings())
    part = watch(task, session, sound(0.0, parts), per_chunk)
    return part["transcript"], session


def test_windows_wait_for_those_of_later_chunks_while_there_is_room():
    parts = [(31.3, LOUD), (0.5, QUIET)] * 10
    for may_wait, batches in ((False, 10), (True, 4)):
        transcript, session = waited(parts, 15, may_wait=may_wait, questions=5)
        assert len(session.asked) == batches and all(len(a.whole) <= 5 for a in session.asked[:-1])
        expected, asked, _ = run(parts, per_chunk=15)
        assert (transcript, windows(session.asked)) == (expected, windows(asked))


def test_what_waits_is_held_from_its_first_second_on_until_it_was_asked_about():
    session, task = ScriptedSession(lambda text: "Words.", may_wait=True, questions=4), Transcribe(Settings())
    segments, held = sound(0.0, [(120.0, LOUD)]), []
    for number in range(6):
        part = segments[10 * number : 10 * number + 10]
        session.now_s = 20.0 * (number + 1)
        task.on_chunk(session, ChunkEnd(number, 0.0, session.now_s, False), part)
        held.append(session.held_from_s)
    begins = [start for start, _ in windows(session.asked)]
    assert held[:2] == [None, 0.0] and None in held[2:]
    task.catch_up(session)
    assert session.held_from_s is None and len(windows(session.asked)) > len(begins)


def test_a_state_is_taken_of_no_windows_that_wait():
    session, task = ScriptedSession(lambda text: "Words.", may_wait=True), Transcribe(Settings())
    task.on_chunk(session, ChunkEnd(0, 0.0, 40.0, False), sound(0.0, [(40.0, LOUD)]))
    with pytest.raises(AssertionError, match="asked about first"):
        task.state()
    task.catch_up(session)
    assert len(task.state()["segments"]) == len(windows(session.asked)) == 1
