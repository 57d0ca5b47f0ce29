"""A folder with one result."""

from pathlib import Path

import pytest
from searching import MEETING, transcript, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "lib" / "meeting.transcript.json", transcript(*MEETING))
    return tmp_path / "lib"
