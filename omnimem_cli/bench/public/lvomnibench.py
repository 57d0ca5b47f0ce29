"""LVOmniBench: 275 videos of 10 to 90 minutes, 1,014 questions on picture and sound together.

Layout (huggingface.co/datasets/KD-TAO/LVOmniBench): ``data.json``, a list of questions; ``videos/{video_id}.mp4``.
Prompt and rule for answers: OmniEval of KD-TAO/LVOmniBench, the rule written anew. Own file: OmniEval's predictions.
Its scorer leaves out questions that failed; here they count as wrong, and the file makes it count them too.
"""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item, without_letter
from omnimem_cli.bench.public.files import annotations, read_json, video_of

SOURCE = "huggingface.co/datasets/KD-TAO/LVOmniBench"
VIDEOS = ("videos", ".")
TASK = (
    "Select the best answer from the options above. "
    "Directly provide the letter representing your choice and nothing else. "
    "Do not include the full text of the option, do not provide any explanation."
)
LETTERS = "ABCDEF"
DECLARED = re.compile(r"(?:THE\s+)?ANSWER\s*(?:IS|:)\s*([A-F])")


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per video; a question's id is its place in the file."""
    rows = list(enumerate(read_json(annotations(folder, ("data.json",), SOURCE))))
    rows.sort(key=lambda row: str(row[1]["video_id"]))
    groups = groupby(rows, lambda row: str(row[1]["video_id"]))
    return [Clip(name, name, video_of(folder, VIDEOS, name), tuple(map(_item, group))) for name, group in groups]


def _item(row: tuple[int, dict]) -> Item:
    number, fields = row
    prompt = f"Question: {fields['question']}\nOptions:\n" + "\n".join(fields["options"]) + f"\n\n{TASK}"
    options, answer = tuple(map(without_letter, fields["options"])), fields["correct_option"].strip().upper()
    return Item(str(number), prompt, options, answer, (fields["question_type"],), fields)


def extract(text: str, options: Sequence[str]) -> str | None:
    """A letter that begins the answer and stands alone; one after "answer is"; one that is a word by itself, in the
    order of the alphabet; the first character that is a letter of an option. Lower case counts as upper case."""
    text = text.upper().strip()
    if text[:1] and text[0] in LETTERS and (len(text) == 1 or text[1] in ".): ,"):
        return text[0]
    declared = DECLARED.search(text)
    alone = (letter for letter in LETTERS if re.search(rf"\b{letter}\b", text))
    found = declared[1] if declared else next(alone, None)
    return found or next((character for character in text if character in LETTERS), None)


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """Every question with prediction and answer; the empty prediction of a failed one counts as wrong."""
    rows = [
        one.item.fields
        | {"model_prediction": one.letter or "", "model_answer_raw": one.text or one.error or ""}
        | {"is_correct": one.right, "skipped": False}
        for one in sorted(answered, key=lambda one: int(one.item.id))
    ]
    return "final_predictions.json", json.dumps(rows, ensure_ascii=False, indent=1)


LVOMNIBENCH = Dataset(
    name="lvomnibench",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="lvomnibench/official",
    extractor_id="lvomnibench/four-patterns",
    source=SOURCE,
    max_tokens=100,
)
