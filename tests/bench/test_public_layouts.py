"""Prompts word for word, and where videos are found besides the usual place."""

import importlib.util
import json
from pathlib import Path

import pytest
from benchmarks import LAYOUTS

from omnimem_cli.bench.public.library import DATASETS, clips_of

HERE = [name for name in LAYOUTS if name != "videomme" or importlib.util.find_spec("pyarrow")]
LETTER_ONLY = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
Q = "Q-a-0: which is right?"
DOTTED = "A. no-a-0-0\nB. yes-a-0\nC. no-a-0-2\nD. no-a-0-3"
PROMPTS = {
    "videomme": f"{LETTER_ONLY}\n{Q}\n{DOTTED}\nThe best answer is:",
    "lvbench": f"{Q}\n(A) no-a-0-0\n(B) yes-a-0\n(C) no-a-0-2\n(D) no-a-0-3\n"
    "Answer with the letter of the right option only.",
    "lvomnibench": f"Question: {Q}\nOptions:\n{DOTTED}\n\nSelect the best answer from the options above. "
    "Directly provide the letter representing your choice and nothing else. "
    "Do not include the full text of the option, do not provide any explanation.",
    "worldsense": "Carefully watch this video and pay attention to every detail. Based on your observations, select "
    "the best option that accurately addresses the question.\nThese are the frames of a video and the corresponding "
    f"audio. {LETTER_ONLY}\nQuestion: {Q}\n{DOTTED}\nAnswer: ",
    "video-holmes": "Based on the given video, reason and answer the single-choice question. Provide your reasoning "
    "between the <think> and </think> tags, and then give your final answer between the <answer> and </answer> tags. "
    f"The question is: {Q}. The options are: A: no-a-0-0, B: yes-a-0, C: no-a-0-2, D: no-a-0-3, E: no-a-0-4, "
    "F: no-a-0-5. Your answer:",
    "omnivideobench": "You are given a video. Based on the content of the video, answer the following question:\n\n"
    f"Question:\n{Q}\n\nOptions:\n{DOTTED.replace('. ', '.')}\n\n"
    "Answer with the option's letter directly"
    "(e.g., A, B, C, or D).If your access to the video content is limited, at least one option that is more likely "
    "than the others must be chosen.Mustn't give any other reason for can not choose!",
}


def read(name: str, folder: Path):
    LAYOUTS[name](folder)
    return clips_of(DATASETS[name], folder, None)


@pytest.mark.parametrize("name", [name for name in PROMPTS if name in HERE])
def test_a_prompt_is_the_authors_own(name, tmp_path):
    first = read(name, tmp_path)[0].items[0]
    assert first.prompt == PROMPTS[name]
    assert first.answer == "B" and first.options[1:2] in ((), ("yes-a-0",))


def test_options_whose_right_one_is_a_text_are_shuffled_alike_every_time(tmp_path):
    clips = read("jointavbench", tmp_path)
    again = clips_of(DATASETS["jointavbench"], tmp_path, None)
    assert clips == again
    items = [item for clip in clips for item in clip.items]
    assert all(item.options["ABCD".index(item.answer)].startswith("yes") for item in items)
    assert {item.answer for item in items} != {"A"} and any(list(i.options) != i.fields["options"] for i in items)


def test_questions_about_one_part_of_a_video_share_a_watch_of_that_part(tmp_path):
    clips = read("jointavbench", tmp_path)
    assert [(clip.video, clip.start_s, clip.end_s, len(clip.items)) for clip in clips] == [
        ("a", 0.0, 2.0, 2), ("b", 0.0, 2.0, 2), ("c", 0.0, 2.0, 1), ("d", 0.0, 2.0, 1),
    ]  # fmt: skip
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a_task1_1.mp4").touch()
    cut = clips_of(DATASETS["jointavbench"], tmp_path, None)[1]
    assert (cut.path.name, cut.start_s, cut.end_s, cut.name) == ("a_task1_1.mp4", None, None, "a_task1_1")


def test_videos_that_the_authors_script_downloaded_are_known_by_their_addresses(tmp_path):
    LAYOUTS["lvbench"](tmp_path)
    shard = tmp_path / "scripts" / "videos" / "00000"
    shard.mkdir(parents=True)
    (shard / "000000007.mp4").touch()
    (shard / "000000007.json").write_text(json.dumps({"url": "https://www.youtube.com/watch?v=b"}))
    paths = {clip.name: clip.path for clip in clips_of(DATASETS["lvbench"], tmp_path, None)}
    assert paths["b"] == shard / "000000007.mp4"
    assert paths["a"] == tmp_path / "videos" / "a.mp4", "where it should lie"


@pytest.mark.parametrize("suffix", [".MP4", ".mkv", ".webm"])
def test_a_video_may_have_another_suffix(suffix, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / f"a{suffix}").touch()
    assert read("worldsense", tmp_path)[0].path.name == f"a{suffix}"
