"""Events for the tests of the live room, and a check that each line of a log is one."""

import json
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import jsonschema

from omnimem_cli.live.events import Event, Moment
from omnimem_cli.results.result import schema

ZONE = timezone(timedelta(hours=1))
BEGAN = datetime(2026, 11, 29, 14, 0, tzinfo=ZONE)


def moment(stream_s: float) -> Moment:
    """A moment of a stream that began at 14:00."""
    return Moment(stream_s, BEGAN + timedelta(seconds=stream_s))


def event(
    kind: str = "summary", start_s: float = 0.0, end_s: float = 30.0, title: str = "A quiet yard.", **more
) -> Event:
    """One event."""
    return Event(kind, moment(start_s), moment(end_s), title, **more)


@cache
def validator() -> jsonschema.Draft202012Validator:
    """Of an event."""
    return jsonschema.Draft202012Validator(schema("event-1"))


def lines_of(path: Path) -> list[dict]:
    """Every line of a log, each checked against the schema; the last one must have an end too."""
    data = path.read_bytes()
    assert not data or data.endswith(b"\n"), "the last line is torn"
    events = [json.loads(line) for line in data.split(b"\n")[:-1]]
    for each in events:
        validator().validate(each)
    return events
