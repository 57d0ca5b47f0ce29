"""What a data file of a fine-tuning may hold, and what is said of one that is wrong."""

import json

import pytest

from omnimem_cli.base.errors import UsageError
from omnimem_cli.finetuning.dataset import read_dataset, split

QUESTION = {"from": "human", "value": "<video>\nWhat is shown?"}
ANSWER = {"from": "gpt", "value": "A red circle."}


def written(path, entries):
    (path / "clips").mkdir(exist_ok=True)
    for name in "abcd":
        (path / "clips" / f"{name}.mp4").write_bytes(b"x")
    file = path / "data.json"
    file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return file


def entry(name="a", turns=(QUESTION, ANSWER), **more):
    return {"id": name, "video": f"clips/{name}.mp4", "conversations": list(turns)} | more


def test_every_pair_of_turns_is_a_question_of_its_own(tmp_path):
    more = ({"from": "human", "value": "And then?"}, {"from": "gpt", "value": "Nothing."})
    (example,) = read_dataset(written(tmp_path, [entry(turns=(QUESTION, ANSWER, *more))]))
    assert example.pairs == (("What is shown?", "A red circle."), ("And then?", "Nothing."))
    assert example.id == "a" and example.video == tmp_path / "clips" / "a.mp4" and not example.has_sound_file


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("{", "JSON"),
        ("{}", "no list"),
        ("[]", "no list"),
        ([1], "Entry 1"),
        ([entry(), {"id": "b", "conversations": []}], 'Entry 2 .* "video"'),
        ([entry(turns=())], "in turn"),
        ([entry(turns=(QUESTION,))], "in turn"),
        ([entry(turns=(ANSWER, QUESTION))], "in turn"),
        ([entry(turns=(QUESTION, {"from": "gpt", "value": " "}))], "in turn"),
        ([entry(turns=("What?", "That."))], "in turn"),
        ([entry("e")], "clips/e.mp4, which does not exist"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entries, why):
    with pytest.raises(UsageError, match=why):
        read_dataset(written(tmp_path, entries))


def test_a_split_is_by_video_and_drawn_by_the_seed(tmp_path):
    examples = read_dataset(written(tmp_path, [entry(name) for name in "abcd"] + [entry("a")]))
    sides = [split(examples, 0.25, seed) for seed in range(8)]
    for trained, held_out in sides:
        assert len({e.video for e in held_out}) == 1 and not {e.video for e in held_out} & {e.video for e in trained}
        assert len(trained) + len(held_out) == 5
    assert sides[0] == split(examples, 0.25, 0) and len({str(held_out) for _, held_out in sides}) > 1
    assert split(examples, 0.0, 0) == (examples, [])
    with pytest.raises(UsageError, match="one side empty"):
        split(examples, 0.05, 0)
