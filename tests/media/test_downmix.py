"""Sound of any number of channels becomes one channel in which everything is heard."""

import footage
import numpy as np
import pytest
import zoo
import zoo_sound

from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import command, source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Format
from omnimem_cli.media.sound import sound_blocks

LAYOUT = Format(segment_s=2.0, fps=2, width=80, height=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("downmix")


def heard(path) -> tuple[np.ndarray, list[dict]]:
    with Source(probe(str(path)), LAYOUT) as reading:
        sound = np.concatenate([segment.audio for segment in reading])
    return sound, reading.warnings


def likeness(sound: np.ndarray, wanted: np.ndarray) -> float:
    size = min(len(sound), len(wanted))
    return float(np.corrcoef(sound[:size], wanted[:size])[0, 1])


def test_channels_in_opposite_phase_are_heard_and_said(folder):
    sound, warnings = heard(zoo_sound.opposite_phase(folder))
    assert likeness(sound, footage.noise(6)) > 0.99
    assert [warning["code"] for warning in warnings] == ["loudest_channel"]
    assert "6.0 s" in warnings[0]["message"]


def test_channels_that_begin_to_cancel_later_are_heard_from_then_on(folder):
    sound, warnings = heard(zoo_sound.opposite_later(folder))
    loud = np.abs(sound[: 12 * footage.RATE]).reshape(-1, footage.RATE).max(1)
    assert loud.min() > 0.1
    assert [warning["code"] for warning in warnings] == ["loudest_channel"]


def test_a_few_tracks_without_a_place_are_averaged(folder):
    sound, warnings = heard(zoo_sound.unnamed(3, 3)(folder))
    wanted = footage.noise(6)
    assert likeness(sound, wanted) > 0.99 and warnings == []
    assert np.abs(sound).max() == pytest.approx(np.abs(wanted).max() / 3, rel=0.01)


@pytest.mark.parametrize(("channels", "loud"), [(6, 4), (10, 1), (60, 9)])
def test_of_many_tracks_without_a_place_the_one_with_sound_is_heard(channels, loud, folder):
    sound, warnings = heard(zoo_sound.unnamed(channels, loud)(folder))
    assert np.allclose(sound[200:], footage.noise(6)[200:], atol=1e-3)  # it fades in
    assert [warning["code"] for warning in warnings] == ["loudest_channel"]


def test_a_sound_field_is_heard(folder):
    path = zoo_sound.ambisonic(folder)
    assert probe(str(path)).audio.channels == 4
    sound, warnings = heard(path)
    assert np.abs(sound).max() > 0.05 and warnings == []


@pytest.mark.parametrize(
    "build",
    [zoo_sound.opposite_later, zoo_sound.unnamed(6, 4), zoo.surround],
    ids=["opposite later", "unnamed", "surround"],
)
def test_the_first_pass_and_decoding_mix_alike(build, folder):
    path = build(folder)
    first = np.concatenate(list(sound_blocks(probe(str(path)), block_s=0.7)))
    assert np.array_equal(first, heard(path)[0])


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "quad", "5.1", "5.1(side)", "7.1"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_speakers_are_mixed_as_ffmpeg_mixes_them(layout, codec, folder):
    path = folder / f"{layout}-{codec}.wav"
    rich = "|".join(f"c{n}={0.9 / (n + 1):.2f}*c0" for n in range({"mono": 1, "stereo": 2}.get(layout, 3)))
    footage.run("-i", footage.sound_file(folder, 6, 44_100), "-af", f"pan={layout}|{rich}", "-c:a", codec, path)
    target = folder / "mixed.raw"
    plain = source(str(path)).output(str(target), ac=1, ar=16_000, f="f32le")
    footage.run(*command(plain)[1:])
    wanted = np.clip(np.fromfile(target, "<f4"), -1, 1)
    assert np.array_equal(heard(path)[0][: len(wanted)], wanted)
