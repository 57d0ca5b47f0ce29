"""nano's packed training pass against the library's own forward pass."""

import numpy as np
import pytest
import torch

from omnimem_cli.models.chat import SYSTEM, USER
from omnimem_cli.models.towers.vision import towers_of
from omnimem_cli.train.architecture import HIDDEN, build
from omnimem_cli.train.nano_tokenizer import build_tokenizer, token_ids
from omnimem_cli.train.packing import Packer, Sample, Task
from omnimem_cli.train.render import Encoded
from omnimem_cli.train.text_stage import forward
from omnimem_cli.train.token_order import OPENING, layout
from omnimem_cli.world.questions import View, question
from omnimem_cli.world.video import make_video


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build(token_ids(tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.get_decoder().parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, tokenizer


def _sample(mode):
    video = make_video(5, 3, "even")
    seconds = round(video.duration_s)
    torch.manual_seed(1)
    encoded = Encoded(video, torch.randn(seconds, 4, HIDDEN), torch.randn(seconds // 2, 20, HIDDEN))
    rng = np.random.default_rng(0)
    views = [View(0, seconds, mode != "a", mode != "v"), View(2, 6, mode != "a", mode != "v")]
    kinds = {"v": ("summary", "next_slide"), "a": ("transcribe", "first_word")}.get(mode, ("summary", "transcribe"))
    tasks = [
        Task(question(k, video, rng, v), min(seconds, 2 * int(np.ceil(v.end_s / 2)))) for k in kinds for v in views
    ]
    return Sample(encoded, mode, [t for t in tasks if t.question])


def _alone(model, tokenizer, sample, task):
    """Logits of one whole-video question through the library's own model, positions from `get_rope_index`."""
    mode, video = sample.mode, sample.encoded.video
    plan = layout(round(video.duration_s), mode)
    ids = token_ids(tokenizer)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    media = [ids["audio_token_index"] if s else ids["video_token_index"] for s in plan.is_sound]
    packer = Packer(tokenizer, HIDDEN)
    text, _ = packer._task_ids(task, mode)
    row = torch.tensor([encode(SYSTEM + USER + OPENING[mode]) + media + text])
    kwargs = {}
    if mode != "a":
        kwargs["video_grid_thw"] = torch.tensor([[len(sample.encoded.visual), 4, 4]])
        kwargs["second_per_grids"] = torch.tensor([1.0])
    if mode != "v":
        kwargs["audio_seqlens"] = torch.tensor([40 * len(sample.encoded.visual)])
    positions, _ = towers_of(model).get_rope_index(
        row, use_audio_in_video=mode == "av", attention_mask=torch.ones_like(row), **kwargs
    )
    embeds = model.get_input_embeddings()(row)
    flat = {True: sample.encoded.sound.flatten(0, 1), False: sample.encoded.visual.flatten(0, 1)}
    at = len(encode(SYSTEM + USER + OPENING[mode]))
    for n, (sound, index) in enumerate(zip(plan.is_sound, plan.index, strict=True)):
        embeds[0, at + n] = flat[bool(sound)][index]
    out = model.get_decoder()(inputs_embeds=embeds, position_ids=positions, use_cache=False)
    return out.last_hidden_state[0, -len(text) :], positions[:, 0], len(text)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["av", "v", "a"])
def test_packed_questions_equal_separate_library_passes(nano, mode):
    model, tokenizer = nano
    sample = _sample(mode)
    whole = [t for t in sample.tasks if t.question.view.start_s == 0]
    batch = Packer(tokenizer, HIDDEN).pack([Sample(sample.encoded, mode, whole + sample.tasks)])
    trace = forward(model, batch)
    end = batch.ids.shape[1] - sum(len(Packer(tokenizer, HIDDEN)._task_ids(t, mode)[0]) for t in sample.tasks)
    states, positions, count = _alone(model, tokenizer, sample, whole[-1])
    assert torch.equal(batch.positions[:, 0, end - count : end], positions[:, -count:])
    assert (trace.final[0, end - count : end] - states).abs().max() < 1e-4
