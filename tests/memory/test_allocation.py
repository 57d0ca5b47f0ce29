"""Budget allocation on signals of known outcome, and a calibration run from file to plan to use."""

import json
import math

import pytest
import torch
from decoders import omni_decoder, stream
from streams import frames_of, media_of, segments_of, sound_of

from omnimem_cli.app import run as run_app
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import plan_file as named_plan
from omnimem_cli.memory.allocation import Allocation, Calibrating, Signal
from omnimem_cli.memory.budget import even_budgets, fit_plan
from omnimem_cli.memory.memory import Memory
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import load
from omnimem_cli.session.evidence import rule_of
from omnimem_cli.session.plan_file import EvidenceRule, read_plan
from omnimem_cli.session.sizing import size_memory

FOUND = {"heads": [[2, 1]], "least_score": 0.5, "right": 0.9, "random": 0.1, "questions": 60, "videos": 1}


def layer(visual=(4.0, 0.5, 5.0), audio=(4.0, 0.5, 5.0), both=(5.0, 0.5, 6.0)):
    return {"visual": Signal(*visual), "audio": Signal(*audio), "all": Signal(*both)}


@pytest.mark.parametrize("score", ["paper", "code"])
def test_equal_signals_give_equal_layers_split_by_the_prior(score):
    plan = Allocation(5.0, score=score).budgets([layer()] * 4, 600)
    assert plan == [(100, 500)] * 4


def test_a_layer_that_sees_more_gets_the_softmax_of_its_lead():
    lead = 0.2 * math.log(3)  # at temperature 0.2: three times the entries
    ahead = layer(both=((2.5 + lead) / 0.5, 0.5, 6.0))
    first, second = Allocation(1.0).budgets([ahead, layer()], 1000)
    assert sum(first) == 1500 and sum(second) == 500


def test_a_kind_competes_with_its_share_of_the_possible_entropy():
    half = layer(visual=(2.0, 0.5, 5.0))  # half as evenly attended as the sound
    alike = layer(visual=(4.0, 0.75, 5.0))  # half as unlike its neighbours
    fewer = layer(visual=(4.0, 0.5, 10.0))  # as even as a crowd of twice the logarithm
    for signals in (half, alike, fewer):
        assert Allocation(1.0).budgets([signals], 300) == [(200, 100)]


def test_the_released_generator_takes_square_roots_and_no_logarithm():
    quarter = layer(visual=(4.0, 0.875, 5.0))  # a gap of a quarter: half the weight
    assert Allocation(1.0, score="code").budgets([quarter], 300) == [(200, 100)]
    assert Allocation(1.0, score="code").budgets([layer(visual=(4.0, 0.5, 50.0))], 300) == [(150, 150)]
    level = 5.0 * math.sqrt((0.5 + 0.125) / 2)
    shares = torch.tensor([level, 5.0 * math.sqrt(0.5)], dtype=torch.float64).div(0.2).softmax(0)
    totals = [sum(pair) for pair in Allocation(1.0, score="code").budgets([quarter, layer()], 3000)]
    assert totals[0] == pytest.approx(max(6000 * float(shares[0]), 375), abs=1) and sum(totals) == 6000


def test_clipped_budgets_stay_within_half_and_one_and_a_half_of_their_prior():
    wild = [layer(both=(9.0, 0.2, 9.1)), layer(both=(1.0, 0.2, 9.1)), layer(audio=(0.1, 0.9, 5.0))]
    for audio, visual in Allocation(2.0, score="code", clip=True).budgets(wild, 800):
        assert 200 <= audio <= 600 and 400 <= visual <= 1200


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_averages_exactly_the_budget_and_no_layer_falls_below_its_floor(seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: (float(8 * torch.rand(1, generator=generator)), float(torch.rand(1, generator=generator)), 8.0)  # noqa: E731
    signals = [layer(draw(), draw(), draw()) for _ in range(28)]
    plan = Allocation(5.0).budgets(signals, 1001)
    assert sum(map(sum, plan)) == 28 * 1001
    assert min(map(sum, plan)) >= 1001 // 8 and min(min(pair) for pair in plan) >= 1
    assert max(map(sum, plan)) > 2 * min(map(sum, plan)), "layers that differ get budgets that differ"
    for entries in (64, 257):
        fitted = fit_plan(plan, entries, True, True)
        assert sum(b.total for b in fitted) == 28 * entries


def test_an_absent_stream_gives_its_whole_share_away():
    silent = [layer(audio=(0.0, 1.0, 0.0))] * 3
    assert Allocation(5.0).budgets(silent, 90) == [(0, 90)] * 3


def test_signals_are_the_entropy_and_redundancy_of_each_kind():
    policy = Calibrating(skip=0, stride=1, carry=100)
    memory = Memory(omni_decoder(), policy, even_budgets(4, 10_000, 1.0, True, True), dtype=torch.float32)
    memory.absorb(stream(6, patches=6, slots=10))
    (first, *_), table = policy.signals(), memory.stores[0].table
    weights = table["importance"][0][table["kind"][0] == 2]
    share = weights / weights.sum()
    assert first["visual"].entropy == pytest.approx(float(-(share * share.log()).sum()), rel=1e-5)
    assert first["visual"].log_candidates == pytest.approx(math.log(36))
    assert first["audio"].entropy <= first["audio"].log_candidates == pytest.approx(math.log(60))
    assert -1 <= first["all"].redundancy <= 1 and len(policy.signals()) == 4


def test_the_first_chunks_of_every_watch_do_not_count():
    policy = Calibrating(skip=1)
    for _ in range(2):
        policy.start()
        memory = Memory(omni_decoder(), policy, even_budgets(4, 20, 1.0, True, True), dtype=torch.float32)
        memory.absorb(stream(2))
        memory.absorb(stream(2))
    assert len(policy.noted[0, "all"]) == 2


@pytest.fixture
def plan_file(tmp_path, tiny_adapter):
    content = {"model": {"name": tiny_adapter.name}, "budgets": [[10, 30], [20, 20], [5, 55], [10, 10]]}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(content))
    return file


def test_a_plan_is_used_in_its_proportions(plan_file, tiny_adapter):
    media = media_of(4, 4)
    plan = tiny_adapter.plan(media, WatchOptions(max_pixels=56 * 56))
    fitted = size_memory(Settings(plan=str(plan_file), budget=Budget(80)), tiny_adapter, plan, media)
    assert [(b.audio, b.visual) for b in fitted.budgets] == [(20, 60), (40, 40), (10, 110), (20, 20)]


def test_a_plan_of_another_model_is_refused(plan_file, tiny_adapter):
    tiny_adapter.name = "another"
    with pytest.raises(UsageError, match="is a plan for"):
        read_plan(plan_file, tiny_adapter)


def test_a_plan_of_other_layers_is_refused(plan_file, tiny_adapter):
    content = json.loads(plan_file.read_text())
    plan_file.write_text(json.dumps(content | {"budgets": content["budgets"][1:]}))
    with pytest.raises(UsageError, match=r"with 3 layers; this is .* with 4"):
        read_plan(plan_file, tiny_adapter)


def with_evidence(plan_file, **evidence):
    rule = {"heads": [[1, 0], [3, 2]], "least_score": 0.25} | evidence
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | {"evidence": rule}))
    return plan_file


def test_the_rule_of_a_plan_is_the_rule_of_its_watches(plan_file, tiny_adapter):
    media = media_of(4, 4)
    plan = tiny_adapter.plan(media, WatchOptions(max_pixels=56 * 56))
    settings = Settings(plan=str(with_evidence(plan_file)), budget=Budget(80))
    config = size_memory(settings, tiny_adapter, plan, media)
    assert config.evidence_rule == EvidenceRule(((1, 0), (3, 2)), 0.25)


def test_a_plan_without_a_rule_is_still_a_plan(plan_file, tiny_adapter):
    plan = read_plan(plan_file, tiny_adapter)
    assert len(plan.budgets) == 4 and plan.evidence is None


@pytest.mark.parametrize(
    "evidence",
    [
        {"heads": []},
        {"heads": [[4, 0]]},
        {"heads": [[0, 99]]},
        {"heads": [[1, 0], [1, 0]]},
        {"heads": [[0, 0, 0]]},
        {"heads": None},
        {"least_score": 2},
        {"least_score": "much"},
        {"least_score": float("nan")},
    ],
)
def test_a_plan_with_a_rule_of_no_such_model_is_refused(plan_file, tiny_adapter, evidence):
    with pytest.raises(UsageError, match="is not a plan"):
        read_plan(with_evidence(plan_file, **evidence), tiny_adapter)


def test_calibrate_writes_a_plan_that_the_tool_takes(tmp_path, tiny_folder, tiny_adapter, monkeypatch):
    media = media_of(14, 14)
    plan = tiny_adapter.plan(media, WatchOptions(max_pixels=56 * 56))
    segments = segments_of(
        plan.format, frames_of(14, plan.format.fps, plan.format.width, plan.format.height), sound_of(14)
    )
    monkeypatch.setattr("omnimem_cli.session.preflight.probe", lambda path, **options: media)
    monkeypatch.setattr("omnimem_cli.session.audio_scan.sound_blocks", lambda *a, **k: iter([sound_of(14)]))
    monkeypatch.setattr("omnimem_cli.jobs.calibration.Source", lambda media, form: _Played(segments))
    monkeypatch.setattr(type(tiny_adapter), "plan", lambda self, media, options: plan)
    calibrated = []
    monkeypatch.setattr(
        "omnimem_cli.bench.evidence_heads.calibrate_evidence",
        lambda adapter, videos, settings, report: calibrated.append(videos) or FOUND,
    )
    out = tmp_path / "plan.json"
    code = run_app(["calibrate", "a.mp4", "-m", str(tiny_folder), "--budget", "40", "--chunk", "54", "--skip", "2",
                    "--av-ratio", "1", "--evidence-videos", "2", "-o", str(out), "-q"])  # fmt: skip
    content = json.loads(out.read_text())
    assert code == 0 and content["settings"]["entries"] == 40 and content["model"]["layers"] == 4
    assert sum(map(sum, content["budgets"])) == 160 and len(content["signals"]) == 4
    written = read_plan(out, tiny_adapter)
    assert len(written.budgets) == 4 and written.evidence == EvidenceRule(((2, 1),), 0.5)
    assert content["evidence"] == FOUND and calibrated == [2]
    assert run_app(["calibrate", "a.mp4", "-m", str(tiny_folder), "--skip", "9", "-o", str(out), "-q"]) == 4, (
        "too short"
    )
    out.write_text("mine")
    assert run_app(["calibrate", "a.mp4", "-m", str(tiny_folder), "-o", str(out), "-q"]) == 2


def test_calibrate_without_evidence_videos_chooses_no_heads(tmp_path, monkeypatch):
    monkeypatch.setattr("omnimem_cli.jobs.calibration.calibrate", lambda *a: {"schema": "omnimem/plan/1"})
    monkeypatch.setattr("omnimem_cli.bench.evidence_heads.calibrate_evidence", lambda *a: FOUND)
    out = tmp_path / "plan.json"
    assert run_app(["calibrate", "a.mp4", "-m", "nano", "--evidence-videos", "0", "-o", str(out), "-q"]) == 0
    assert "evidence" not in json.loads(out.read_text())


@pytest.mark.parametrize("count", ["1", "-2"])
def test_too_few_evidence_videos_to_halve_are_refused(count, tmp_path):
    assert run_app(["calibrate", "a.mp4", "-m", "nano", "--evidence-videos", count, "-q"]) == 2


class _Played(list):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_nano_comes_with_a_plan_that_is_named_like_it():
    nano = load("nano", device="cpu")
    plan = read_plan(named_plan("nano"), nano)
    assert min(min(pair) for pair in plan.budgets) >= 1
    assert plan.evidence == rule_of(nano)
    with pytest.raises(UsageError, match="does not exist"):
        named_plan("qwen2.5-omni-7b")


def test_a_model_without_a_plan_has_the_guess_even_if_its_folder_is_named_like_one_that_has(tiny_adapter):
    guess = rule_of(tiny_adapter)
    assert {layer for layer, _ in guess.heads} == {2, 3} and guess.least_score == 0.1
    tiny_adapter.name = "nano"
    assert rule_of(tiny_adapter) == guess
