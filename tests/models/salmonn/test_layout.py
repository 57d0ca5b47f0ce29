"""Order and positions of tokens against the released data code's layouts and plain restatements of the rules."""

import json

import pytest
import torch
from salmonn_tiny import DATA

from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.models.salmonn.layout import END, START, Item, Layout, Mark, Step
from omnimem_cli.models.salmonn.mrope import BlockPositions, GeneratedPositions, TrainedPositions

VIDEO, AUDIO = "<|video_pad|>", "<|audio_pad|>"


def cases(family: str) -> list[dict]:
    return json.loads((DATA / family / "layout.json").read_text())


def written(items: list[Item], patches: int) -> str:
    """Items as the prompt text that the released data code writes."""
    parts = []
    for item in items:
        if isinstance(item, Mark):
            parts.append(item.text)
        else:
            parts.append(VIDEO * patches if isinstance(item, Step) else AUDIO * item.count)
    return "".join(parts)


def layout_of(family: str, case: dict) -> Layout:
    step_s = case["second_per_grid"] or 2.0
    if family == "salmonn25":
        return Layout(step_s, spans=False)
    steps = (case["video_grid_thw"] or [0])[0]
    return Layout(step_s, spans=True, per_span=max(1, -(-steps // case["total_timestamps"])))


def times_of(case: dict) -> list[float]:
    if case["frame_idx"] is None:
        return [0.0] * (case["video_grid_thw"] or [0])[0]
    frames = case["frame_idx"] + case["frame_idx"][-1:] * (len(case["frame_idx"]) % 2)
    return [(a + b) / 2 / case["native_fps"] for a, b in zip(frames[::2], frames[1::2], strict=True)]


def prompt_of(family: str, case: dict, items: list[Item]) -> str:
    before, after = case["prompt"].split("<video>" if "<video>" in case["prompt"] else "<audio>", 1)
    rows, columns = (case["video_grid_thw"] or [0, 0, 0])[1:]
    media = written(items, rows * columns // 4)
    if family == "salmonn25":
        media = START + media + END
    return SYSTEM + USER + before + media + after + ANSWER


@pytest.mark.parametrize("family", ["salmonn25", "salmonn3"])
@pytest.mark.parametrize("per_call", [1, 3, 1000])
def test_layout_is_that_of_the_released_data_code_however_the_stream_is_cut(family, per_call):
    compared = 0
    for case in cases(family):
        if "outlasts" in case.get("note", ""):
            continue
        layout, times, heard = layout_of(family, case), times_of(case), case["audio_tokens"] or 0
        items = []
        for start in range(0, len(times), per_call):
            items += layout.extend(times[start : start + per_call], heard, flush=False)
        items += layout.rest(heard)
        expected = "".join(text * count for text, count in case["layout"])
        assert prompt_of(family, case, items) == expected, case["prompt"]
        compared += 1
    assert compared >= 6


def test_picture_that_outlasts_its_sound_takes_what_there_is():
    case = next(c for c in cases("salmonn25") if "outlasts" in c.get("note", ""))
    layout = Layout(case["second_per_grid"], spans=False)
    items = layout.extend(times_of(case), case["audio_tokens"], flush=True)
    assert written(items, 1).count(AUDIO) == 60
    assert written(items, 1).count(VIDEO) == 40


def test_sound_after_the_last_picture_stays_in_the_last_span():
    layout = Layout(2.0, spans=True)
    items = layout.extend([0.5, 2.5], 8, flush=False) + layout.extend([], 60, flush=True) + layout.rest(60)
    assert written(items, 1).endswith(START + VIDEO + AUDIO * 56 + END)


def test_asking_reads_waiting_sound_and_changes_nothing():
    layout = Layout(2.0, spans=True, per_span=3)
    layout.extend([0.5, 2.5], 60, flush=False)
    before = repr(layout)
    assert written(layout.rest(60), 1) == AUDIO * 60 + END
    assert repr(layout) == before


def test_spans_share_a_group_with_their_media():
    layout = Layout(2.0, spans=True)
    items = layout.extend([0.5, 2.5], 8, flush=True) + layout.rest(8)
    assert [item.group for item in items] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def trained(steps: int, sounds: int, *, step_s: float, start: int, rows: int, columns: int, order: str) -> torch.Tensor:
    """The released training rule, token by token."""
    out, g, j, picture = [], 0, 0, "V" in order
    for token in order:
        if token == "V":
            out += [(start + int(2 * step_s * g), start + r, start + c) for r in range(rows) for c in range(columns)]
            g += 1
        else:
            out.append((start + j, start, start + j) if picture else (start + j, start + j, start))
            j += 1
    assert (g, j) == (steps, sounds)
    return torch.tensor(out).T


def placed(rule, order: str, rows: int, columns: int) -> torch.Tensor:
    parts, step = [], 0
    for token in order:
        if token == "V":
            parts.append(rule.visual(step, 0, rows, columns))
            step += 1
        else:
            parts.append(rule.audio(1))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("order", ["VA", "VAAVAAVAAA", "VVVV", "AAAAA", "VAVAVAAAAAAAAAAAAAA"])
def test_trained_positions_run_sound_beside_picture(order):
    rule = TrainedPositions(11, 1.37, picture="V" in order, sound="A" in order)
    expected = trained(order.count("V"), order.count("A"), step_s=1.37, start=11, rows=3, columns=2, order=order)
    assert torch.equal(placed(rule, order, 3, 2), expected)
    after = expected[0] if {"A", "V"} == set(order) else expected
    assert rule.text(1)[0].item() == after.max() + 1


@pytest.mark.parametrize("order", ["VAAVAAVAAA", "VVVV", "VAVAVAAAAAAAAAAAAAA"])
def test_generated_positions_lay_the_grid_over_whatever_comes(order):
    rows, columns, start = 3, 2, 11
    steps = order.count("V")
    grid = [(start + 2 * t, start + r, start + c) for t in range(steps) for r in range(rows) for c in range(columns)]
    largest = max(max(place) for place in grid)
    grid += [(largest + 1 + i,) * 3 for i in range(order.count("A"))]
    rule = GeneratedPositions(start, steps * rows * columns, rows, columns)
    assert torch.equal(placed(rule, order, rows, columns), torch.tensor(grid).T)
    assert rule.text(1)[0].item() == max(max(place) for place in grid) + 1


def test_block_positions_are_the_library_s_where_spans_hold_one_step():
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        text_config={"vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
        vision_config={"depth": 1, "hidden_size": 16, "num_heads": 1, "deepstack_visual_indexes": []},
    )
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    grid, ids, kinds, rule, parts = (2, 6, 4), [], [], BlockPositions(0), []
    for text, pads in ((7, 6), (5, 6), (4, 0)):
        ids += [1] * text + [config.video_token_id] * pads
        kinds += [0] * text + [2] * pads
        parts += [rule.text(text)] + ([rule.visual(0, 0, 3, 2)] if pads else [])
    theirs, _ = model.model.get_rope_index(
        torch.tensor([ids]), torch.tensor([kinds]), video_grid_thw=torch.tensor([grid])
    )
    assert torch.equal(torch.cat(parts, dim=1), theirs[:, 0])


def test_steps_of_one_span_count_from_its_start():
    rule = BlockPositions(5)
    first, second = rule.visual(0, 0, 2, 2), rule.visual(1, 1, 2, 2)
    assert first[0].tolist() == [5] * 4
    assert second.tolist() == [[6] * 4, [5, 5, 6, 6], [5, 6, 5, 6]]
    assert rule.text(1)[0].item() == 7
