"""Questions with the answers that they should have, in one pass with gradients over a memory.

Knows a fork, an adapter and texts; knows no weight that learns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from omnimem_cli.memory.fork import left_padded
from omnimem_cli.memory.gradient import GradientFork
from omnimem_cli.memory.tokens import QUESTION, TokenChunk, concat, text_chunk
from omnimem_cli.models.adapter import Adapter

TURN_END = "<|im_end|>"


def answer_ids(adapter: Adapter, answer: str) -> list[int]:
    """Token ids of an answer and of the end of its turn."""
    tokenizer = adapter.tokenizer
    ids = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.convert_tokens_to_ids(TURN_END)]


def answer_losses(
    adapter: Adapter, fork: GradientFork, questions: Sequence[TokenChunk], answers: Sequence[list[int]]
) -> tuple[Tensor, Tensor]:
    """Cross-entropy fp32 [T] of the tokens of all answers, one after the other, and whether each is the likeliest.

    ``answers``: what ``answer_ids`` gives. The embeddings of the texts are constants.
    """
    with torch.no_grad():
        rows = [_with_answer(adapter, *pair) for pair in zip(questions, answers, strict=True)]
    hidden = fork.forward(*left_padded(rows))
    states = torch.cat([row[-len(answer) :] for row, answer in zip(hidden, answers, strict=True)])
    ids = torch.tensor([token for answer in answers for token in answer], device=states.device)
    logits = adapter.model.lm_head(states).float()
    return cross_entropy(logits, ids, reduction="none"), logits.argmax(-1) == ids


def _with_answer(adapter: Adapter, question: TokenChunk, answer: list[int]) -> TokenChunk:
    """A question and all of its answer but the last token, which nothing is predicted from."""
    embeds = adapter.embed(torch.tensor(answer[:-1], dtype=torch.long, device=adapter.device))
    return concat([question, text_chunk(embeds, int(question.positions[0, -1]) + 1, QUESTION)])
