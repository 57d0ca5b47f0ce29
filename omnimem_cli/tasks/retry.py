"""Questions put to a session; where an answer loops, the same question is put once more, with a penalty on repeats.

Knows loops and sessions; knows no question. A penalty from the start would harm answers that rightly repeat names and
numbers, so only what has looped already pays it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.tasks.prompts import STOPS
from omnimem_cli.tasks.reply import has_loop, runs_in_a_loop

if TYPE_CHECKING:
    from omnimem_cli.session.answering import Answer
    from omnimem_cli.session.look import Stretches
    from omnimem_cli.session.session import HeldQuestion, Session, Window

PENALTY = 1.2  # what the paper of the penalty found to balance truth and repetition


def answers_to(
    session: "Session",
    texts: Sequence[str],
    *,
    max_tokens: int | Sequence[int],
    whole: "Sequence[Window] | None" = None,
    held: "Sequence[HeldQuestion] | None" = None,
    detail: "Stretches | None" = None,
    grammars: Sequence[str | None] = (),
    preface: str = "",
) -> "list[Answer]":
    """One answer per text, in order; the keywords are those of `Session.ask`.

    What a grammar binds is not put again: repeats may be right in data.

    A second answer that loops too, or is empty, does not replace the first.
    """
    how = {"max_tokens": max_tokens, "stop": STOPS, "loops": runs_in_a_loop, "evidence": whole is None}
    if preface:
        how["preface"] = preface
    answers = session.ask(texts, whole=whole, held=held, detail=detail, grammars=grammars, **how) if texts else []
    free = [i for i in range(len(answers)) if not grammars or grammars[i] is None]
    looping = [i for i in free if has_loop(answers[i].text)]
    if looping:
        again_whole = None if whole is None else [whole[i] for i in looping]
        again_held = None if held is None else [held[i] for i in looping]
        again_detail = None if detail is None else (detail[0], [detail[1][i] for i in looping])
        if not isinstance(max_tokens, int):
            how["max_tokens"] = [max_tokens[i] for i in looping]
        asked = [texts[i] for i in looping]
        again = session.ask(asked, whole=again_whole, held=again_held, detail=again_detail, **how, penalty=PENALTY)
        for i, answer in zip(looping, again, strict=True):
            if answer.text.strip() and not has_loop(answer.text):
                answers[i] = answer
    return answers
