"""The shipped nano: its folder, its size, and that the library itself can run it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2_5OmniThinkerForConditionalGeneration, WhisperFeatureExtractor
from watching import watch

from omnimem_cli.base.settings import Settings
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.models.loader import load
from omnimem_cli.models.towers.patches import patch_rows
from omnimem_cli.tasks.transcribe import Transcribe
from omnimem_cli.train.architecture import HIDDEN, MEL, PATCHES
from omnimem_cli.train.nano_tokenizer import build_tokenizer
from omnimem_cli.train.packing import Packer, Sample, Task
from omnimem_cli.train.render import encode
from omnimem_cli.train.text_stage import forward
from omnimem_cli.train.token_order import CLOSING, OPENING
from omnimem_cli.world import words
from omnimem_cli.world.questions import Part, Question, View
from omnimem_cli.world.scoring import word_error_rate
from omnimem_cli.world.video import make_video

NANO = Path(words.__file__).parents[1] / "models" / "nano"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def nano():
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(NANO)


def test_everything_shipped_is_at_most_25_megabytes():
    files = [*NANO.iterdir(), *words.BANK.parent.glob("bank.*"), *words.BANK.parent.glob("demo.*")]
    assert sum(file.stat().st_size for file in files) <= 25 * MEBIBYTE
    assert (words.BANK.parent / "demo.mp4").stat().st_size < MEBIBYTE


def test_the_folder_says_what_the_front_ends_need():
    config = json.loads((NANO / "config.json").read_text())
    assert (config["position_id_per_seconds"], config["seconds_per_chunk"]) == (10, 2)
    assert "vision_start_token_id" in config and config["audio_config"]["n_window"] == 40
    extractor = WhisperFeatureExtractor.from_pretrained(NANO)
    assert (extractor.n_fft, extractor.hop_length, extractor.feature_size) == (
        MEL.n_fft,
        MEL.hop_length,
        MEL.feature_size,
    )


def test_the_shipped_tokenizer_is_the_one_the_recipe_makes(nano):
    _, tokenizer = nano
    text = SYSTEM + USER + OPENING["av"] + CLOSING["av"] + "Which word? red circle 3, apple\n" + ANSWER
    assert tokenizer.encode(text) == build_tokenizer().encode(text)


def _library_inputs(model, tokenizer, video, text):
    """What the library's own forward pass and `generate` take for a question about a whole video."""
    rows = patch_rows(video.frames(2.0).permute(0, 2, 3, 1), PATCHES)
    seconds = len(rows)
    media = []
    for _ in range(seconds // 2):
        media += [model.config.video_token_id] * 8 + [model.config.audio_token_id] * 20
    ids = tokenizer.encode(SYSTEM + USER + OPENING["av"]) + media + tokenizer.encode(CLOSING["av"] + text + ANSWER)
    extractor = WhisperFeatureExtractor.from_pretrained(NANO)
    sound = {"sampling_rate": MEL.sampling_rate, "padding": "do_not_pad", "truncation": False}
    mel = torch.from_numpy(extractor(video.sound().numpy(), **sound).input_features[0])
    return {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        "pixel_values_videos": rows.flatten(0, 1),
        "video_grid_thw": torch.tensor([[seconds, 4, 4]]),
        "video_second_per_grid": torch.tensor([1.0]),
        "input_features": mel[None],
        "feature_attention_mask": torch.ones(1, mel.shape[1], dtype=torch.long),
        "use_audio_in_video": True,
    }


@torch.no_grad()
def test_the_library_generates_what_our_training_pass_predicts(nano):
    model, tokenizer = nano
    video = make_video(60_300, 3, "even", "eval")
    text = "What is shown first?"
    inputs = _library_inputs(model, tokenizer, video, text)
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    answer = tokenizer.decode(out, skip_special_tokens=True)
    question = Question("first_slide", text, (Part(answer),), View(0, video.duration_s), "visual")
    with_clean_pictures = encode(model, [video], _Unchanged(0))
    batch = Packer(tokenizer, HIDDEN).pack(
        [Sample(with_clean_pictures[0], "av", [Task(question, int(video.duration_s))])]
    )
    states = forward(model, batch).final[batch.answers[:, 0], batch.answers[:, 1]]
    predicted = (states @ model.lm_head.weight.T).argmax(-1)
    assert predicted.tolist() == batch.answers[:, 2].tolist()


class _Unchanged(np.random.Generator):
    """A generator that leaves pictures and sound as they are: every draw is the neutral one."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64(seed))

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.full(size, 1.0 if low > 0.5 else 0.0) if size is not None else 0.0

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        return np.zeros(size, dtype)


@pytest.mark.slow
def test_speech_is_written_down_in_windows_no_longer_than_the_row_allows():
    adapter, settings = load("nano", device="cpu"), Settings()
    clip = words.BANK.with_name("demo.mp4")
    result = watch(clip, settings, Transcribe(settings), adapter)
    segments = result["transcript"]["segments"]
    assert all(s["end_s"] - s["start_s"] <= row("nano").window_s for s in segments)
    true = [e["word"] for e in json.loads(clip.with_suffix(".json").read_text())["events"] if e["word"]]
    assert word_error_rate(" ".join(s["text"] for s in segments).split(), true) <= 0.3
