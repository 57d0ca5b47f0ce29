"""Events of alerts: one id while an alert lasts, also through a crash, and another one for the next."""

import json

import pytest

from omnimem_cli.live.alert_events import AlertEvents
from omnimem_cli.live.alert_rules import Rule
from omnimem_cli.live.alerts import UNCLEAR, Change
from omnimem_cli.live.events import CLOSED, OPEN, Event

from events import moment, validator  # isort: skip

DOOR = Rule("door", "somebody opens the back door")


class Teller:
    """Makes events and keeps them."""

    def __init__(self):
        self.told: list[Event] = []

    def event(self, type: str, start_s: float, end_s: float, title: str, **more) -> Event:
        self.told.append(Event(type, moment(start_s), moment(end_s), title, **more))
        validator().validate(self.told[-1].as_dict())
        return self.told[-1]

    def status(self, tag: str, title: str, text: str, **more) -> Event:
        return self.event("status", 0.0, 0.0, title, tag=tag, text=text, **more)


@pytest.fixture
def teller() -> Teller:
    return Teller()


def change(what: str, end_s: float) -> Change:
    return Change(DOOR, what, 0.0, end_s, "A hand.", ((0.0, end_s),))


def test_an_alert_is_one_event_until_it_closes(teller):
    events = AlertEvents(teller)
    for what, end_s in ((OPEN, 30), (OPEN, 60), (CLOSED, 60), (OPEN, 120)):
        events.tell(change(what, end_s))
    ids, revisions = zip(*((told.id, told.revision) for told in teller.told), strict=True)
    assert revisions == (0, 1, 2, 0)
    assert len(set(ids[:3])) == 1 and ids[3] != ids[0]
    assert teller.told[1].evidence == ({"start_s": 0.0, "end_s": 60},)


def test_an_alert_that_lasts_keeps_its_event_in_another_process(teller):
    before = AlertEvents(teller)
    before.tell(change(OPEN, 30))
    after = AlertEvents(teller)
    after.load_state(json.loads(json.dumps(before.state())))
    after.tell(change(CLOSED, 30))
    first, last = teller.told
    assert (last.id, last.revision, last.state) == (first.id, 1, CLOSED)


def test_a_rule_without_answers_is_a_status(teller):
    AlertEvents(teller).tell(change(UNCLEAR, 90))
    assert (teller.told[0].type, teller.told[0].tag) == ("status", "unclear_door")
