"""The rule that Video-MME and WorldSense share: lead-ins go, then the first capital letter of an option counts.

Rule of `extract_characters_regex` (thanku-all/parse_answer afd52cf for Video-MME, VLMEvalKit for WorldSense), written
anew. Of the lead-ins in their lists only these two hold a letter of an option. In both lists the first ran together
from two, so "Best answer:" alone stays in the text; that is part of the rule, and "Best answer: C" is read as B.
"""

import re

LEAD_INS = ("Best answer:Best option:", "Answer:")


def first_letter(text: str) -> str | None:
    """The first of A, B, C, D in what remains of an answer, capital, also inside a word."""
    for phrase in LEAD_INS:
        text = text.replace(phrase, "")
    found = re.search("[ABCD]", text)
    return found[0] if found else None
