"""One example on its way through a model: watched under the budget, its answers taught at the end.

All chunks but the last are absorbed as in any watch. The last one, and the questions with their answers, are passed
with gradients (`memory.gradient`). This is the shape that the paper's fine-tuning describes (OmniMem, arXiv 2606.07577:
budgets in force, gradients cut for all but the last chunk, loss on the answers only). Ours differs from it in two
points: the paper cuts the earlier chunks at layer 18 and runs later layers once over what is selected there, and it
selects by cosines alone; here every layer evicts for itself, by the policy that the tool will watch with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.finetuning.dataset import Example
from omnimem_cli.media.decode import Source
from omnimem_cli.memory.fork import left_padded
from omnimem_cli.memory.gradient import GradientFork, GradientPass
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.tokens import QUESTION, TokenChunk, concat, text_chunk
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.audio_scan import open_scanned
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.session import Session

TURN_END = "<|im_end|>"


class HeldBack:
    """A memory that absorbs a chunk when the next one comes: at the end the last chunk is still outside."""

    def __init__(self, memory: Memory):
        self.memory, self.seen = memory, memory.seen
        self.last: TokenChunk | None = None

    def absorb(self, chunk: TokenChunk) -> None:
        """Hold ``chunk`` back, absorb the one before it."""
        if self.last is not None:
            self.memory.absorb(self.last)
        self.last = chunk


@dataclass
class ExampleWatch:
    """An example that was watched but for its last chunk."""

    example: Example
    session: Session
    memory: Memory
    last: TokenChunk

    def loss(self) -> Tensor:
        """Mean cross-entropy of the tokens of all answers, after the last chunk. To be called once."""
        adapter, stream = self.session.adapter, self.session.stream
        last = self.memory.absorb(self.last, GradientPass)
        if last is None:
            raise InputError(f"The end of {self.example.video} gives the model no number.", "Leave it out.")
        self.session.memory = self.memory
        questions = stream.question([question for question, _ in self.example.pairs])
        answers = [answer_ids(adapter, answer) for _, answer in self.example.pairs]
        rows = [_with_answer(adapter, *pair) for pair in zip(questions, answers, strict=True)]
        hidden = GradientFork(self.memory, last).forward(*left_padded(rows))
        return _answer_loss(adapter, hidden, answers)

    def exact(self) -> list[bool]:
        """Whether each answer, asked as `omnimem ask` does, is the data's, but for case and space. After ``loss``."""
        given = self.session.ask([question for question, _ in self.example.pairs], max_tokens=self._longest())
        return [_plain(a.text) == _plain(right) for a, (_, right) in zip(given, self.example.pairs, strict=True)]

    def _longest(self) -> int:
        return max(len(answer_ids(self.session.adapter, answer)) for _, answer in self.example.pairs)


def watch_example(example: Example, settings: Settings, adapter: Adapter) -> ExampleWatch:
    """Watch an example's video up to its last chunk. Raises InputError, UsageError, MissingError, DoesNotFitError."""
    prepared = prepare(str(example.video), settings, adapter)
    if example.has_sound_file and prepared.media.audio is None:
        raise InputError(f"{example.video} has no sound; its sound is in a file of its own.", "Mux both into one file.")
    stream = open_scanned(adapter, prepared.media, prepared.plan)
    memory = prepared.config.memory(stream)
    held = HeldBack(memory)
    session = Session(stream, held, prepared.config.chunk_tokens)
    with Source(prepared.media, prepared.plan.format) as source:
        for _ in session.watch(source):
            pass
    return ExampleWatch(example, session, memory, held.last)


def answer_ids(adapter: Adapter, answer: str) -> list[int]:
    """Token ids of an answer and of the end of its turn."""
    tokenizer = adapter.tokenizer
    ids = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.convert_tokens_to_ids(TURN_END)]


def _with_answer(adapter: Adapter, question: TokenChunk, answer: list[int]) -> TokenChunk:
    """A question and all of its answer but the last token, which nothing is predicted from."""
    embeds = adapter.embed(torch.tensor(answer[:-1], dtype=torch.long, device=adapter.device))
    return concat([question, text_chunk(embeds, int(question.positions[0, -1]) + 1, QUESTION)])


def _answer_loss(adapter: Adapter, hidden: Tensor, answers: Sequence[list[int]]) -> Tensor:
    """Of final states [B, n, D]; a row's last states predict its answer."""
    states = torch.cat([row[-len(answer) :] for row, answer in zip(hidden, answers, strict=True)])
    ids = torch.tensor([token for answer in answers for token in answer], device=states.device)
    return cross_entropy(adapter.model.lm_head(states).float(), ids)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
