"""The accuracy benchmark on a tiny random model: its bookkeeping is right whatever the model says."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

from omnimem_cli.app import app
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench import needle
from omnimem_cli.bench.intervals import design_effect, interval, paired, wilson
from omnimem_cli.bench.needle import FULL, Needle, asked_about, bench_needle, entries_within, full_bytes
from omnimem_cli.bench.plot import needle_svg
from omnimem_cli.bench.replay import encode
from omnimem_cli.bench.tables import needle_table
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.memory.policies import POLICIES
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.qwen_omni.stream import QwenOmniStream
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory
from omnimem_cli.world.stream import facts_of, open_video, segments_of
from omnimem_cli.world.video import make_video

SMALL = Settings(max_pixels=56 * 56, av_ratio=0.1)
OPTIONS = WatchOptions(max_pixels=56 * 56)
NEEDLE = Needle(["omnimem", "full"], ["1/4", "1/8"], videos=2, seed=60_000, events=6)


@pytest.fixture
def know_it_all(monkeypatch):
    """A session that answers from this table of texts, and "?" to the rest."""
    truth = {}

    def ask(self, texts, **settings):
        return [Answer(truth.get(text, "?"), 1, True) for text in texts]

    monkeypatch.setattr(Session, "ask", ask)
    return truth


def test_every_policy_and_budget_has_its_row_within_its_share_of_the_bytes(tiny_adapter):
    result = bench_needle(tiny_adapter, NEEDLE, SMALL, lambda _: None)
    rows = {(row["policy"], row["budget"]): row for row in result["rows"]}
    assert list(rows) == [(p, b) for p in NEEDLE.policies for b in NEEDLE.budgets]
    assert all(row["kind"] == "all" for row in result["rows"]) and result["over"] == []
    whole = rows["full", "1/4"]["bytes"]
    assert 0.8 * whole / 4 < rows["omnimem", "1/4"]["bytes"] <= whole / 4
    assert 0.7 * whole / 8 < rows["omnimem", "1/8"]["bytes"] <= whole / 8
    assert json.loads(json.dumps(result))["videos"] == 2
    assert "omnimem" in needle_table(result)


def test_bits_of_a_policy_hold_more_entries_in_the_same_bytes(tiny_adapter):
    names = ["uniform", "uniform:bits=8", "uniform:bits=4", "full:bits=4", "full"]
    result = bench_needle(tiny_adapter, replace(NEEDLE, policies=names, budgets=["1/4"]), SMALL, lambda _: None)
    rows = {row["policy"]: row["bytes"] for row in result["rows"]}
    assert list(rows) == names and result["over"] == []
    assert all(0.8 * rows["full"] / 4 < rows[name] <= rows["full"] / 4 for name in names[:3])
    assert rows["full:bits=4"] < 0.5 * rows["full"]
    video = make_video(60_000, 6, "skew", split="eval")
    encoded = encode(tiny_adapter, video, OPTIONS)
    entries = [entries_within(100_000, encoded, with_variant(SMALL, name)) for name in names[:3]]
    assert entries[1] > 2 * entries[0] and entries[2] > 1.2 * entries[1]


def test_bits_hold_for_every_policy_of_a_table(tiny_adapter):
    names = [f"{name}:bits=4" for name in POLICIES if name != "full"]
    wanted = replace(NEEDLE, policies=["uniform", *names], budgets=["1/4"], videos=1)
    rows = {row["policy"]: row for row in bench_needle(tiny_adapter, wanted, SMALL, lambda _: None)["rows"]}
    assert list(rows) == wanted.policies
    video = encode(tiny_adapter, make_video(60_000, 6, "skew", split="eval"), OPTIONS)
    for name in names:
        entries = [entries_within(100_000, video, with_variant(SMALL, each)) for each in (name, name.split(":")[0])]
        assert entries[0] > 1.5 * entries[1] and rows[name]["bytes"] <= rows["uniform"]["bytes"] * 1.2


EACH_POOL = [
    name if pool == kind.pool else f"{name}:pool={pool}"
    for name, kind in POLICIES.items()
    for pool in (("one", "split") if kind.bounded else ())
]
"""Every bounded policy with one pool and split by kind."""


@pytest.mark.parametrize("bits", [16, 4])
def test_every_policy_is_measured_at_the_same_bytes(bits, tiny_adapter, monkeypatch):
    held, watch = {}, needle.watched

    def watched(encoded, settings):
        session = watch(encoded, settings)
        held[settings.policy, settings.kv_bits] = sum(map(nbytes, tensors_in(session.memory.state())))
        return session

    monkeypatch.setattr(needle, "watched", watched)
    wanted = Needle([*EACH_POOL, FULL], ["1/4"], videos=1, seed=60_000, events=10)
    result = bench_needle(tiny_adapter, wanted, replace(SMALL, kv_bits=bits), lambda _: None)
    assert len(EACH_POOL) == 18 and result["over"] == []
    allowed = held["full", 16] / 4
    assert all(0.99 * allowed < held[name, bits] <= allowed for name in EACH_POOL)
    shown = {row["policy"]: row["bytes"] for row in result["rows"] if row["policy"] != FULL}
    assert shown == {name: held[name, bits] for name in EACH_POOL}


def tensors_in(state: object) -> Iterator[torch.Tensor]:
    """Every tensor of a nested state."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        yield from tensors_in(list(state.values()))
    elif isinstance(state, list | tuple):
        for one in state:
            yield from tensors_in(one)


def nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def test_with_the_questions_as_focus_every_question_has_its_watch_and_the_table_says_so(tiny_adapter, monkeypatch):
    focuses, size = [], needle.size_memory
    monkeypatch.setattr(needle, "size_memory", lambda one, *more: focuses.append(one.focus) or size(one, *more))
    wanted = replace(NEEDLE, policies=["omnimem", "full"], budgets=["1/4"], videos=1)
    one = bench_needle(tiny_adapter, wanted, SMALL, lambda _: None)
    assert set(focuses) == {()} and "was about" not in needle_table(one)
    focuses.clear()
    other = bench_needle(tiny_adapter, replace(wanted, focus_questions=True), SMALL, lambda _: None)
    assert focuses[-1] == () and all(focuses[:-1]), "every watch is about its question; full, the last, about nothing"
    assert [row["n"] for row in one["rows"]] == [row["n"] for row in other["rows"]] and other["over"] == []
    assert len(focuses) > other["rows"][0]["n"] and "every watch was about its question" in needle_table(other)


@pytest.mark.parametrize("name", ["omnimem:bits=5", "omnimem:bits=", "omnimem:bits=8:bits=4", "none:bits=8"])
def test_bits_that_there_are_not_are_refused(name):
    with pytest.raises(UsageError):
        with_variant(SMALL, name)


def test_right_answers_count_by_kind_and_absent_things_are_not_in_the_total(tiny_adapter, know_it_all):
    asked = asked_about(encode(tiny_adapter, make_video(60_000, 6, "skew", split="eval"), OPTIONS))
    know_it_all.update({q.text: q.answer for q in asked if q.kind != "absent"})
    result = bench_needle(tiny_adapter, replace(NEEDLE, videos=1), SMALL, lambda _: None)
    counts = Counter(q.kind for q in asked)
    assert all(row["accuracy"] == 1.0 and row["n"] == sum(counts.values()) - counts["absent"] for row in result["rows"])
    kinds = {row["kind"]: row for row in result["by_kind"]}
    assert kinds["absent"]["accuracy"] == 0.0 and kinds["digit"]["n"] == counts["digit"]
    assert 0 < kinds["delayed"]["n"] < result["rows"][0]["n"]


def test_what_is_made_up_and_what_is_denied_falsely_are_counted_apart(tiny_adapter, know_it_all):
    asked = asked_about(encode(tiny_adapter, make_video(60_000, 6, "skew", split="eval"), OPTIONS))
    absent, present = ([q for q in asked if (q.kind == "absent") == wanted] for wanted in (True, False))
    know_it_all.update({q.text: q.answer for q in [*absent[1:], *present[1:]]} | {present[0].text: "Not in the video."})
    result = bench_needle(tiny_adapter, replace(NEEDLE, videos=1), SMALL, lambda _: None)
    row = result["rows"][0]
    assert row["false_answers"] == pytest.approx(1 / len(absent), abs=1e-4) and len(absent) > 1
    assert row["false_refusals"] == pytest.approx(1 / len(present), abs=1e-4)
    assert f"{row['false_answers']:.1%} / {row['false_refusals']:.1%}" in needle_table(result)
    assert not {"false_answers", "false_refusals"} & {row["kind"] for row in result["by_kind"]}


@pytest.mark.parametrize("bits", ["16", "4"])
@pytest.mark.parametrize("positions", ["keep", "lazy"])
def test_a_budget_is_a_share_of_what_an_unbounded_watch_holds(tiny_adapter, bits, positions):
    encoded = encode(tiny_adapter, make_video(60_001, 6, "skew", split="eval"), OPTIONS)
    settings = with_variant(replace(SMALL, positions=positions), f"salience:bits={bits}")
    assert full_bytes(encoded, settings) == needle.watched(encoded, with_variant(settings, FULL)).memory.nbytes


def test_questions_count_by_the_third_of_the_video_that_tells_the_answer(tiny_adapter, know_it_all):
    encoded = encode(tiny_adapter, make_video(60_000, 6, "skew", split="eval"), OPTIONS)
    asked = [q for q in asked_about(encoded) if q.evidence and q.kind != "absent"]
    third = encoded.video.duration_s / 3
    know_it_all.update({q.text: q.answer for q in asked if sum(q.evidence) / 2 < third})
    result = bench_needle(tiny_adapter, replace(NEEDLE, videos=1), SMALL, lambda _: None)
    kinds = {row["kind"]: row for row in result["by_kind"]}
    assert (kinds["early"]["accuracy"], kinds["late"]["accuracy"]) == (1.0, 0.0)
    assert sum(kinds[name]["n"] for name in ("early", "middle", "late")) == len(asked)
    middle = f"{100 * kinds['middle']['accuracy']:.0f}"
    assert "early / middle / late third, %" in needle_table(result) and f"100 / {middle} / 0" in needle_table(result)


def test_a_table_of_all_policies_is_read_without_wrapping(tiny_adapter):
    result = bench_needle(tiny_adapter, replace(NEEDLE, policies=EACH_POOL, videos=1), SMALL, lambda _: None)
    shown = needle_table(result)
    assert max(map(len, shown.splitlines())) <= 120
    heads = [line.split() for line in shown.splitlines() if line.startswith("at 1/8")]
    assert [name for head in heads for name in head[3:]] == EACH_POOL, "each has one column of kinds"


def test_a_policy_is_compared_with_omnimem_question_by_question(tiny_adapter, monkeypatch):
    def answers(session, asked):
        better = type(session.memory.policy).__name__ == "Uniform"
        return {"all": [1.0, float(better)], "false_answers": [0.0], "false_refusals": [0.0]}

    monkeypatch.setattr(needle, "_answers", answers)
    wanted = replace(NEEDLE, policies=["uniform", "omnimem"], budgets=["1/4"])
    result = bench_needle(tiny_adapter, wanted, SMALL, lambda _: None)
    ours, theirs = result["rows"]
    assert (ours["difference"], ours["difference_low"], theirs["difference"]) == (0.5, 0.5, 0.0)
    assert result["against"] == "omnimem" and "+50.0 (+50 to +50)" in needle_table(result)
    alone = bench_needle(tiny_adapter, replace(wanted, policies=["uniform"]), SMALL, lambda _: None)
    assert alone["against"] == "uniform" and "points over" not in needle_table(alone)


def test_a_paired_interval_is_narrower_than_that_of_two_means_and_widens_with_what_videos_share():
    ours = [[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]
    mean, low, high = paired(ours, [[a * (i != 0) for i, a in enumerate(group)] for group in ours])
    assert mean == pytest.approx(3 / 12) and (low, high) == (pytest.approx(mean), pytest.approx(mean))
    mean, low, high = paired(ours, [[0] * 4, [1, 0, 0, 1], [1, 1, 1, 0]])
    half = 1.96 * (3 / 2 * (2**2 + 1 + 1) / 144) ** 0.5
    assert mean == pytest.approx(3 / 12) and (low, high) == (pytest.approx(mean - half), pytest.approx(mean + half))
    assert paired([[1, 0]], [[0, 0]])[1:] == (-1.0, 1.0), "one video tells nothing about others"


def test_a_video_is_encoded_once_for_all_policies(tiny_adapter, monkeypatch):
    calls = []
    real = QwenOmniStream.encode
    monkeypatch.setattr(QwenOmniStream, "encode", lambda self, s: calls.append(len(s)) or real(self, s))
    bench_needle(tiny_adapter, NEEDLE, SMALL, lambda _: None)
    videos = [make_video(seed, 6, "skew", split="eval") for seed in (60_000, 60_001)]
    segment_s = tiny_adapter.plan(facts_of(videos[0]), OPTIONS).format.segment_s
    assert sum(calls) == sum(-(-video.duration_s // segment_s) for video in videos)


def test_a_replayed_video_fills_the_memory_as_the_stream_itself_would(tiny_adapter):
    encoded = encode(tiny_adapter, make_video(60_000, 2, "even", split="eval"), OPTIONS)
    replayed = watched(encoded, encoded.stream, encoded.segments)
    direct = watched(
        encoded, open_video(tiny_adapter, encoded.video, OPTIONS), segments_of(encoded.video, encoded.plan.format)
    )
    assert replayed[1] == direct[1]
    assert all(
        torch.allclose(column.float(), direct[0][name].float(), atol=1e-5) for name, column in replayed[0].items()
    )


def watched(encoded, stream, segments):
    """The last layer's state and an answer, segment by segment."""
    one = encoded.plan.tokens_per_segment
    fitted = size_memory(Settings(budget=Budget(60), chunk=one), encoded.adapter, encoded.plan, encoded.media)
    session = Session(stream, fitted.memory(stream), one)
    for _ in session.watch(segments):
        pass
    return session.memory.state()["layers"][-1], session.ask(["What?"], max_tokens=4)


def test_wilsons_interval_is_the_published_one_and_never_leaves_zero_to_one():
    low, high = wilson(0.9, 10)
    assert low == pytest.approx(0.5958, abs=1e-3) and high == pytest.approx(0.9821, abs=1e-3)
    assert wilson(1.0, 5)[1] == 1.0 and wilson(0.0, 5)[0] == 0.0


def test_questions_that_share_their_videos_luck_count_less():
    alike, mixed = [[1.0] * 10, [0.0] * 10] * 3, [[1.0, 0.0] * 5] * 6
    assert design_effect(alike) > 10 and design_effect(mixed) == 1.0
    narrow, wide = interval(mixed), interval(alike)
    assert narrow[0] == wide[0] == 0.5 and wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])


def test_the_plot_has_one_line_per_policy_and_is_well_formed():
    rows = [
        {"policy": p, "budget": b, "accuracy": a, "low": a - 0.1, "high": min(1, a + 0.1)}
        for p, a in (("omnimem", 0.9), ("a<b", 0.5))
        for b in ("1/4", "1/16")
    ]
    root = ElementTree.fromstring(needle_svg(rows, "Title"))
    name = "{http://www.w3.org/2000/svg}"
    lines = root.findall(f"{name}polyline")
    assert len(lines) == 2 and {t.text for t in root.findall(f"{name}text")} >= {"omnimem", "a<b", "1/4", "1/16"}
    left, right = (float(point.split(",")[0]) for point in lines[0].get("points").split())
    assert left < right, "the smaller budget stands to the left"
    assert min(float(t.get("y")) for t in root.findall(f"{name}text")) > 0


def test_a_plot_is_drawn_where_it_was_asked_for_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("omnimem_cli.bench.needle.bench_needle", lambda *arguments: {"rows": []})
    monkeypatch.setattr("omnimem_cli.bench.tables.needle_table", lambda result: "")
    monkeypatch.setattr("omnimem_cli.bench.plot.needle_svg", lambda rows, title: "<svg/>")
    monkeypatch.setattr("omnimem_cli.commands.bench.needle.load_model", lambda settings: None)
    for more, left in (([], []), (["-f", "json"], []), (["--plot", "mine.svg"], ["mine.svg"])):
        assert CliRunner().invoke(app, ["bench", "needle", "-q", *more]).exit_code == 0
        assert [path.name for path in tmp_path.iterdir()] == left


def test_a_recorded_table_stands_under_its_command_once(monkeypatch, tmp_path):
    results = [{"table": "first"}, {"table": "second"}]
    monkeypatch.setattr("omnimem_cli.commands.bench.needle.load_model", lambda settings: None)
    monkeypatch.setattr("omnimem_cli.bench.needle.bench_needle", lambda *_: results.pop(0))
    monkeypatch.setattr("omnimem_cli.bench.tables.needle_table", lambda result: result["table"])
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n\nAbove.\n")
    words = ["bench", "needle", "--videos", "3", "-m", "my nano", "--record", str(file)]
    monkeypatch.setattr("sys.argv", ["omnimem", *words])
    for _ in range(2):
        assert CliRunner().invoke(app, words).exit_code == 0
    text = file.read_text()
    assert text.startswith("# Results\n\nAbove.\n\n<!-- ") and text.count("<!-- end of record -->") == 1
    assert (
        "```bash\nomnimem bench needle --videos 3 -m 'my nano'\n```" in text
        and "second" in text
        and "first" not in text
    )
    monkeypatch.setattr("sys.argv", ["omnimem", *words[:-1], str(tmp_path / "no" / "folder.md")])
    results.append({"table": "third"})
    assert CliRunner().invoke(app, [*words[:-1], str(tmp_path / "no" / "folder.md")]).exit_code != 0
