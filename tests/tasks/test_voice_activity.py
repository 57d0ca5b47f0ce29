"""What silero-vad calls speech, and what that does to a transcript's windows."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from fake_run import omnimem

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.tasks.loudness import Loudness

needs_silero = pytest.mark.skipif(importlib.util.find_spec("silero_vad") is None, reason="silero-vad is an extra")


@pytest.fixture
def speech():
    from omnimem_cli.tasks.voice_activity import Speech

    return Speech()


def _said(word, at_s, length_s=2.0):
    from omnimem_cli.world.words import recording

    wave = np.zeros(round(length_s * SAMPLE_RATE), np.float32)
    voice = recording(word, "eval", 0)
    begin = round(at_s * SAMPLE_RATE)
    wave[begin : begin + len(voice)] = 0.5 * voice
    return wave, at_s + len(voice) / SAMPLE_RATE


def _hum(length_s=2.0):
    """A loud mains hum: -13 dBFS, no speech."""
    at = np.arange(round(length_s * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 50 * at)).astype(np.float32)


@needs_silero
def test_a_word_is_speech_where_it_is_said(speech):
    wave, end_s = _said("yogurt", 0.8)
    blocks = np.flatnonzero(speech(wave)) / 10
    assert len(blocks) >= 3 and 0.7 <= blocks[0] <= 1.1 and blocks[-1] <= end_s + 0.2


@needs_silero
def test_a_hum_is_loud_and_no_speech(speech):
    heard, gated = Loudness(), Loudness(speech)
    for loudness in (heard, gated):
        loudness.add(0.0, _hum())
    assert heard.speech_span(0.0, 2.0, -50.0) == (0.0, 2.0)
    assert gated.speech_span(0.0, 2.0, -50.0) is None


@needs_silero
def test_a_stretch_sounds_the_same_whatever_was_heard_before(speech):
    speech._model = Latch()
    assert speech(np.ones(SAMPLE_RATE, np.float32)).all()
    assert not speech(np.zeros(SAMPLE_RATE, np.float32)).any()


class Latch:
    """A detector that never forgets what it heard, unless it is reset."""

    def reset_states(self):
        self.heard = False

    def __call__(self, frame, rate):
        self.heard = self.heard or bool(frame.max() > 0.5)
        return torch.tensor(float(self.heard))


@needs_silero
@pytest.mark.parametrize(("samples", "blocks"), [(0, 0), (1, 1), (1600, 1), (1601, 2), (40_000, 25)])
def test_there_is_an_answer_for_every_block(speech, samples, blocks):
    assert len(speech(np.zeros(samples, np.float32))) == blocks


@needs_silero
def test_torch_keeps_its_threads(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    from omnimem_cli.tasks.voice_activity import Speech

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Speech()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_the_extra_it_is_5_with_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    assert omnimem("transcribe", str(tmp_path / "a.mp4"), "--vad", "silero") == 5
    assert 'pip install "omnimem-cli[vad]"' in capsys.readouterr().err


def test_an_unknown_detector_is_2(capsys, tmp_path):
    assert omnimem("transcribe", str(tmp_path / "a.mp4"), "--vad", "ears") == 2
    assert "energy, silero" in capsys.readouterr().err
