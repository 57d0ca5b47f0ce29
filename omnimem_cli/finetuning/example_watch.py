"""One example on its way through a model: watched under the budget, its answers taught at the end.

All chunks but the last are absorbed as in any watch. The last one, and the questions with their answers, are passed
with gradients (`memory.gradient`). This is the shape that the paper's fine-tuning describes (OmniMem, arXiv 2606.07577:
budgets in force, gradients cut for all but the last chunk, loss on the answers only). Ours differs from it in two
points: the paper cuts the earlier chunks at layer 18 and runs later layers once over what is selected there, and it
selects by cosines alone; here every layer evicts for itself, by the policy that the tool will watch with.
"""

from dataclasses import dataclass

from torch import Tensor

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.finetuning.dataset import Example
from omnimem_cli.media.decode import Source
from omnimem_cli.memory.gradient import GradientFork, GradientPass
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.audio_scan import open_scanned
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.session import Session
from omnimem_cli.session.taught_answers import answer_ids, answer_losses


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
        losses, _ = answer_losses(adapter, GradientFork(self.memory, last.kept), questions, answers)
        return losses.mean()

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


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
