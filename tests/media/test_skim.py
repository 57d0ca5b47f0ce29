"""A hole in the middle of a long file is found by a look at its index, and a healthy one is not searched."""

import random

import av
import pytest
from edits import Editor, drop, hole, jump

from omnimem_cli.media import packets, skim
from omnimem_cli.media.probe import probe

LONG = ("mp4", "mkv", "flv")
EDGE_S, SHORT_S = 1.0, 5.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("skim")


@pytest.fixture(autouse=True)
def short_clips_count_as_long(monkeypatch):
    monkeypatch.setattr(packets, "EDGE_S", EDGE_S)
    monkeypatch.setattr(packets, "SHORT_S", SHORT_S)
    monkeypatch.setattr(skim, "END_S", 3 * EDGE_S)


@pytest.mark.parametrize("suffix", LONG)
@pytest.mark.parametrize("edit", [hole, drop, jump], ids=lambda edit: edit.__name__)
def test_a_hole_between_the_ends_of_a_long_file_is_found(edit, suffix, folder):
    for seed in range(4):
        edited = edit(Editor(folder, random.Random(seed)), suffix)
        media = probe(str(edited.path))
        missing_s = max(end - begin for stream in (media.video, media.audio) for begin, end in stream.gaps)
        assert missing_s == pytest.approx(edited.lost_s, abs=0.2), edited.story


@pytest.mark.parametrize("suffix", LONG)
def test_a_healthy_file_is_listed_at_its_ends_alone(suffix, folder, monkeypatch):
    path = str(Editor(folder, random.Random(0)).clip(suffix))
    with av.open(path) as container:
        assert not skim.skim(path, container).suspect
    listed = []
    monkeypatch.setattr(
        packets, "_packets", lambda container, whole=packets._packets: _counted(whole(container), listed)
    )
    media = probe(path)
    assert len(listed) < 600  # of 1360
    assert media.video.duration_s == pytest.approx(20, abs=0.1) and media.audio.duration_s == pytest.approx(20, abs=0.1)


def _counted(rows, listed):
    for row in rows:
        listed.append(row)
        yield row
