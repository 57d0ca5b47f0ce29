"""The rule that Video-MME and WorldSense share: lead-ins go, then the first capital letter of an option counts.

Rule of `extract_characters_regex` (thanku-all/parse_answer for Video-MME, VLMEvalKit for WorldSense), written anew.
In both lists of lead-ins two pairs of phrases ran together, so "The best option is" and "Best answer:" stay in the
text; that is part of the rule, and "Best answer: C" is read as B.
"""

import re
from collections.abc import Sequence

LEAD_INS = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
)


def first_letter(text: str, lead_ins: Sequence[str]) -> str | None:
    """The first of A, B, C, D in what remains of an answer, capital, also inside a word."""
    for phrase in lead_ins:
        text = text.replace(phrase, "")
    found = re.search("[ABCD]", text)
    return found[0] if found else None
