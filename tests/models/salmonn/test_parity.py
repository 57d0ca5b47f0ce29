"""Our forward pass against the published reference code's numbers on the same weights (fp32, 1e-4)."""

import pytest
import torch
from salmonn_tiny import (
    AUDIO_PAD,
    VIDEO_PAD,
    a_media,
    expected,
    greedy,
    load_tiny,
    one_shot,
    tiny_salmonn,
    tiny_tokenizer,
)

from omnimem_cli.media.segment import Format
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL, concat
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.models.salmonn.layout import END, START
from omnimem_cli.models.salmonn.stream import Features

CLOSE = {"atol": 1e-4, "rtol": 0}
ROWS, COLUMNS, STEPS = 2, 3, 4


class ScriptedTokenizer:
    """Gives the fixture's random text ids for the strings of our prompt."""

    def __init__(self, script: dict[str, list[int]]):
        self.script = script

    def __call__(self, text: str, **kwargs) -> dict:
        return {"input_ids": self.script[text]}


@pytest.fixture(scope="module")
def adapter25(tmp_path_factory):
    return load_tiny(tiny_salmonn(tmp_path_factory.mktemp("salmonn25"), "salmonn25"))


@pytest.fixture(scope="module")
def adapter3(tmp_path_factory):
    return load_tiny(tiny_salmonn(tmp_path_factory.mktemp("salmonn3"), "salmonn3"))


def features(adapter, case: dict, times: list[float]) -> Features:
    with torch.no_grad():
        patches = case["pixel_values_videos"].view(STEPS, 4 * ROWS * COLUMNS, -1)
        visual, fed = adapter.see(patches, ROWS, COLUMNS).flatten(0, 1), torch.ones(STEPS, ROWS * COLUMNS).bool()
        return Features(visual, adapter.hear(case["audio_feature"]).flatten(0, 1), times, fed)


def pieces_of(adapter, case: dict, step_s: float, times: list[float], question: str, mrope: str = "released") -> list:
    cell = adapter.patches.cell
    media = a_media(STEPS * step_s, 30.0, COLUMNS * cell, ROWS * cell)
    form = Format(30.0, 2 / step_s, COLUMNS * cell, ROWS * cell)
    stream = adapter.open(media, Plan(form, 0, 0, 0, mrope=mrope))
    middle = stream.emit_tokens(features(adapter, case, times), flush=True)
    return [stream.prefix, middle, *stream.question([question])]


def pieces25(adapter, case: dict, mrope: str = "released") -> list:
    ids = case["input_ids"][0].tolist()
    first, end = ids.index(VIDEO_PAD), len(ids) - ids[::-1].index(AUDIO_PAD)
    prompt = {SYSTEM + USER + START: ids[:first], END: ids[end : end + 1], "\nQ": ids[end + 1 :], ANSWER: []}
    adapter.tokenizer = ScriptedTokenizer(prompt)
    try:
        return pieces_of(adapter, case, 5.0, [0.0, 5.0, 10.0, 15.0], "Q", mrope)
    finally:
        adapter.tokenizer = tiny_tokenizer()


def pieces3(adapter, case: dict) -> list:
    pieces = pieces_of(adapter, case, 6.5, [1.75, 9.25, 16.75, 24.25], "What is heard?")
    cut = case["input_ids"].shape[1] - len(pieces[0]) - len(pieces[1])
    return [*pieces[:2], pieces[2].cut(0, cut)]


def test_towers_compute_what_the_reference_computes(adapter25, adapter3):
    for adapter, family in ((adapter25, "salmonn25"), (adapter3, "salmonn3")):
        case = expected(family, "av")
        got = features(adapter, case, [0.0] * STEPS)
        visual, *deepstack = got.visual.split(adapter.decoder.config.hidden_size, dim=-1)
        torch.testing.assert_close(visual, case["video_embeds"], **CLOSE)
        torch.testing.assert_close(got.audio, case["audio_embeds"][0], **CLOSE)
        assert len(deepstack) == (3 if family == "salmonn3" else 0)
        for i, feature in enumerate(deepstack):
            torch.testing.assert_close(feature, case[f"deepstack_{i}"], **CLOSE)


@pytest.mark.parametrize(("mrope", "rule"), [("released", "generate"), ("trained", "dataset")])
def test_qwen25_positions_and_logits_follow_the_chosen_rule(adapter25, mrope, rule):
    case = expected("salmonn25", "av")
    whole = concat(pieces25(adapter25, case, mrope))
    assert torch.equal(whole.positions, case[f"position_ids_{rule}"][:, 0])
    torch.testing.assert_close(one_shot(adapter25, whole), case[f"logits_with_{rule}_positions"][0], **CLOSE)


def test_qwen25_generates_the_tokens_of_released_inference(adapter25):
    case = expected("salmonn25", "av")
    ids, logits, places = greedy(adapter25, pieces25(adapter25, case), 8)
    torch.testing.assert_close(logits, case["generate_logits"][0], **CLOSE)
    assert ids == case["generate_tokens"][0].tolist()
    assert torch.equal(places, case["generate_decode_positions"])


def test_qwen3_lays_out_the_ids_and_positions_of_the_reference(adapter3):
    case = expected("salmonn3", "av")
    whole = concat(pieces3(adapter3, case))
    assert torch.equal(whole.positions, case["position_ids"][:, 0])
    text = adapter3.embed(case["input_ids"][0])
    said = torch.isin(whole.kind, torch.tensor([PREFIX, TEXT])) | (whole.kind > AUDIO)
    torch.testing.assert_close(whole.embeds[said], text[said], atol=0, rtol=0)
    assert torch.equal(whole.kind == VISUAL, case["input_ids"][0] == VIDEO_PAD)
    assert torch.equal(whole.kind == AUDIO, case["input_ids"][0] == AUDIO_PAD)


def test_qwen3_logits_and_greedy_tokens_are_those_of_the_reference(adapter3):
    case = expected("salmonn3", "av")
    pieces = pieces3(adapter3, case)
    torch.testing.assert_close(one_shot(adapter3, concat(pieces)), case["logits"][0], **CLOSE)
    ids, logits, places = greedy(adapter3, pieces, 8)
    torch.testing.assert_close(logits, case["generate_logits"][0], **CLOSE)
    assert ids == case["generate_tokens"][0].tolist()
    assert torch.equal(places, case["generate_decode_positions"])
