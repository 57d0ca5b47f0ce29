"""Alerts: each opens once, is told again while it lasts, and closes; what is no answer changes nothing."""

import json
from itertools import groupby, product
from types import SimpleNamespace

import pytest
from scripted import ScriptedSession

from omnimem_cli.base.errors import UsageError
from omnimem_cli.live.alert_rules import Rule, parse_rules, read_context
from omnimem_cli.live.alerts import UNCLEAR, Alerts, AlertState, check_context
from omnimem_cli.live.events import CLOSED, OPEN
from omnimem_cli.live.verdicts import Verdict

DOOR, CAR = Rule("door", "somebody opens the back door"), Rule("car", "a car stops")
VERDICTS = {"y": True, "n": False, "?": None}


def changes(sequence: str, state: AlertState | None = None) -> list[tuple[str, float, float]]:
    """What a sequence of verdicts on windows of 10 s changes, and then the end of the watch."""
    state = state or AlertState(DOOR)
    found = [state.take(Verdict(10.0 * i, 10.0 * i + 10, VERDICTS[said])) for i, said in enumerate(sequence)]
    return [(c.what, c.start_s, c.end_s) for c in [*found, state.close()] if c is not None]


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("", []),
        ("nnnn", []),
        ("nyn", [(OPEN, 10, 20), (CLOSED, 10, 20)]),
        ("yyyn", [(OPEN, 0, 10), (OPEN, 0, 20), (OPEN, 0, 30), (CLOSED, 0, 30)]),
        ("yy", [(OPEN, 0, 10), (OPEN, 0, 20), (CLOSED, 0, 20)]),
        ("ynny", [(OPEN, 0, 10), (CLOSED, 0, 10), (OPEN, 30, 40), (CLOSED, 30, 40)]),
        ("y?n", [(OPEN, 0, 10), (CLOSED, 0, 10)]),
        ("y?y", [(OPEN, 0, 10), (OPEN, 0, 30), (CLOSED, 0, 30)]),
        ("??", []),
        ("?????", [(UNCLEAR, 20, 30)]),
        ("???n???", [(UNCLEAR, 20, 30), (UNCLEAR, 60, 70)]),
        ("y???n", [(OPEN, 0, 10), (UNCLEAR, 30, 40), (CLOSED, 0, 10)]),
    ],
)
def test_an_alert_opens_once_and_closes_once(sequence, expected):
    assert changes(sequence) == expected


def test_every_sequence_of_verdicts_opens_and_closes_in_turn():
    for sequence in product("yn?", repeat=6):
        told = [what for what, *_ in changes("".join(sequence)) if what != UNCLEAR]
        runs = [what for what, _ in groupby(told)]
        assert runs == [OPEN, CLOSED] * (len(runs) // 2)
        assert told.count(CLOSED) == runs.count(CLOSED)


class Heard(list):
    """The changes that were told."""

    tell = list.append

    def state(self) -> dict:
        return {"heard": len(self)}

    def load_state(self, state: dict) -> None:
        assert state == {"heard": len(self)}


def real(reply, **more) -> ScriptedSession:
    """A session of a model of the real world."""
    return ScriptedSession(reply, world=None, **more)


def said(answer: str, reason: str = "A hand is on the handle.") -> str:
    return json.dumps({"answer": answer, "reason": reason})


def watched(alerts: Alerts, session: ScriptedSession, ends: list[float]) -> None:
    for end_s in ends:
        session.now_s = end_s
        alerts.look(session, last=end_s == ends[-1])
    alerts.end()


def test_windows_overlap_and_each_is_asked_about_once():
    session, told = real(lambda text: said("no")), Heard()
    alerts = Alerts([DOOR], told, period_s=30, overlap_s=5)
    watched(alerts, session, [10.0 * i for i in range(1, 11)])
    assert [asked.whole for asked in session.asked] == [[(0, 30)], [(25, 60)], [(55, 90)], [(85, 100)]]
    assert told == []


def test_windows_and_rules_that_are_due_together_are_asked_in_one_batch():
    session, told = real(lambda text: said("yes" if "door" in text else "no")), Heard()
    watched(Alerts([DOOR, CAR], told, period_s=30, overlap_s=5), session, [90.0])
    (asked,) = session.asked
    assert len(asked.texts) == 6 and set(asked.whole) == {(0, 30), (25, 60), (55, 90)}
    assert [(change.rule.tag, change.what, change.end_s) for change in told] == [
        ("door", OPEN, 30),
        ("door", OPEN, 60),
        ("door", OPEN, 90),
        ("door", CLOSED, 90),
    ]
    assert told[-1].reason == "A hand is on the handle."


@pytest.mark.parametrize("chunk_s", [2.0, 10.0, 30.0])
@pytest.mark.parametrize("begins", range(0, 100, 7))
def test_an_alert_is_found_within_one_period(begins, chunk_s):
    """Whatever the place of the event among the windows, and whatever the chunks."""

    def reply(text: str) -> str:
        start_s, end_s = session.asked[-1].whole[0]
        return said("yes" if start_s < begins + 4 and begins < end_s else "no")

    session, told, found = real(reply), Heard(), []
    alerts = Alerts([DOOR], told, period_s=30, overlap_s=5)
    for number in range(1, round(160 / chunk_s)):
        session.now_s = number * chunk_s
        alerts.look(session)
        found += [(change.what, session.now_s) for change in told[len(found) :]]
    assert found[0][0] == OPEN and found[0][1] - begins <= 30 + chunk_s


def test_nothing_is_asked_about_time_of_which_nothing_came():
    session, told = real(lambda text: said("yes"), empty=[(0, 60)]), Heard()
    watched(Alerts([DOOR], told, period_s=30, overlap_s=5), session, [30.0, 60.0, 90.0])
    assert [asked.whole for asked in session.asked] == [[(55, 90)]]
    assert [change.what for change in told] == [OPEN, CLOSED]


def test_the_first_window_begins_where_the_stream_does():
    session = real(lambda text: said("no"), start_s=100.0)
    watched(Alerts([DOOR], Heard(), period_s=30, overlap_s=5), session, [129.0, 131.0])
    assert [window for asked in session.asked for window in asked.whole] == [(100, 130), (125, 131)]


def test_an_open_alert_goes_on_in_another_process():
    session, told = real(lambda text: said("yes")), Heard()
    before = Alerts([DOOR, CAR], told)
    session.now_s = 30.0
    before.look(session)
    state = json.loads(json.dumps(before.state()))
    after = Alerts([CAR, DOOR, Rule("new", "a dog barks")], told)
    after.load_state(state)
    session.now_s, session.reply = 60.0, lambda text: said("yes" if "door" in text else "no")
    after.look(session)
    assert [(c.rule.tag, c.what, c.start_s, c.end_s) for c in told[2:]] == [
        ("car", CLOSED, 0, 30),
        ("door", OPEN, 0, 60),
    ]
    assert session.asked[-1].whole == [(25, 60)] * 3


def test_the_evidence_of_a_long_alert_stays_short():
    state = AlertState(DOOR)
    for i in range(1000):
        change = state.take(Verdict(i, i + 1, True))
    assert change.windows == ((0, 1), (998, 999), (999, 1000))


def test_rules_are_a_tag_and_a_sentence():
    assert parse_rules(["door: somebody opens the back door.", "car_2:a car  stops"]) == (
        DOOR,
        Rule("car_2", "a car stops"),
    )
    for wrong in ("somebody opens the door", "Door: x", "door:", "a b: x", " : x"):
        with pytest.raises(UsageError, match="--alert"):
            parse_rules([wrong])
    with pytest.raises(UsageError, match="twice"):
        parse_rules(["door: a", "door: b"])


def test_what_is_normal_is_a_text_of_bounded_length(tmp_path):
    path = tmp_path / "normal.txt"
    path.write_text("The yard\n is empty at night.\n")
    assert read_context(str(path), "--context") == "The yard is empty at night."
    stream = SimpleNamespace(prompt_ids=lambda text: text.split())
    check_context("word " * 900, SimpleNamespace(stream=stream))
    with pytest.raises(UsageError, match="1,100 tokens"):
        check_context("word " * 1100, SimpleNamespace(stream=stream))
    with pytest.raises(UsageError, match="cannot be read"):
        read_context(str(tmp_path / "none"), "--context")
