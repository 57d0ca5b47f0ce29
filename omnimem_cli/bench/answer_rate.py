"""How fast answers are written over a full memory: by the engine's step, and by the library's own `generate`.

The engine's step runs as it is written and, on CUDA, as a graph. A batch of the library shares no memory, so each of
its rows gets a cache of as many random entries as a layer of the memory holds. Knows the answer loop; judges no answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from transformers import DynamicCache

from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.machine import machine, timed
from omnimem_cli.bench.timing_clip import make_clip
from omnimem_cli.memory.attention import NAME
from omnimem_cli.memory.memory import kv_heads
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.answer_step import CapturedStep
from omnimem_cli.session.answering import AnswerLoop
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory, watch_options

QUESTION = "What is shown, and what is said?"
AS_WRITTEN, GRAPH, LIBRARY = "as written", "CUDA graph", "transformers"
REPEATS = 3
FILLER = 100  # any token that is text in every vocabulary: of the cached ones only their number counts

Way = Callable[[int], Callable[[int], None]]
"""Makes ready for so many questions at once; what it returns writes answers of so many tokens."""


@dataclass(frozen=True)
class Answers:
    """What to run: ``counts`` of questions asked at once, ``tokens`` of each answer, ``minutes`` of video before."""

    counts: list[int]
    tokens: int
    minutes: float


def bench_answers(adapter: Adapter, answers: Answers, settings: Settings, report: Report) -> dict:
    """One row per way and count; what `omnimem bench answers` prints."""
    session = _watched(adapter, answers.minutes, settings)
    entries = round(sum(map(len, session.memory.stores)) / len(session.memory.stores))
    ways = {AS_WRITTEN: _Engine(session, _AsWritten), LIBRARY: _Library(adapter, entries)}
    if adapter.device.type == "cuda":
        ways[GRAPH] = _Engine(session, AnswerLoop)  # the last: after an error in a graph the device may refuse all work
    rows = []
    for name, way in ways.items():
        for count in answers.counts:
            report(Progress(f"{name}, {count}"))
            rows.append({"way": name, "questions": count, **_times(adapter.device, way, count, answers.tokens)})
    graph = ways[GRAPH].captured if GRAPH in ways else None
    shape = {"model": adapter.name, "dtype": str(adapter.dtype).removeprefix("torch."), **machine(adapter.device)}
    return {"rows": rows, "entries": entries, "tokens": answers.tokens, "graph_captured": graph, **shape}


def _watched(adapter: Adapter, minutes: float, settings: Settings) -> Session:
    clip = make_clip(adapter, 60 * minutes, watch_options(settings))
    fitted, stream = size_memory(settings, adapter, clip.plan, clip.media), clip.open(adapter)
    session = Session(stream, fitted.memory(stream), fitted.chunk_tokens)
    for _ in session.watch(clip):
        pass
    return session


def _times(device: torch.device, way: Way, count: int, tokens: int) -> dict:
    """Seconds to the first token, of a whole answer and of one step; medians. ``why``: the reason where there are none.

    A step is the difference between answers of all and of half of the tokens, so that neither the question nor the
    capture of a graph counts; None where noise exceeds it.
    """
    half = max(tokens // 2, 1)
    try:
        way(count)(tokens)  # kernels are chosen, the allocator has its blocks
        first, part, whole = (_median_s(device, way, count, n) for n in (1, half, tokens))
    except RuntimeError as error:  # of one way: the figures of the others count
        return {"why": str(error).partition("\n")[0]}
    step = (whole - part) / max(tokens - half, 1)
    return {
        "first_token_s": round(first, 5),
        "answer_s": round(whole, 5),
        "tokens_per_second": round(count * tokens / whole, 1),
        "step_s": round(step, 6) if step > 0 else None,
    }


def _median_s(device: torch.device, way: Way, count: int, tokens: int) -> float:
    return median(timed(device, partial(way(count), tokens))[0] for _ in range(REPEATS))


class _AsWritten(AnswerLoop):
    """Answers whose steps are never captured."""

    def as_run(self) -> Callable[[], None]:
        return self.step


class _Engine:
    """Answers from the session's memory. ``captured``: whether the last ones were written by a CUDA graph."""

    def __init__(self, session: Session, loop: type[AnswerLoop]):
        self._session, self._loop, self.captured = session, loop, False

    def __call__(self, count: int) -> Callable[[int], None]:
        return partial(self._write, count)

    @torch.no_grad()
    def _write(self, count: int, tokens: int) -> None:
        session = self._session
        loop = self._loop(session.adapter, session.memory.fork(), session.stream.question([QUESTION] * count))
        loop.run(tokens, ())
        if tokens > 2:  # the first step runs as written
            self.captured = isinstance(loop.run_step, CapturedStep) and loop.run_step.captured


class _Library:
    """Answers of the library's `generate` with its usual cache, from ``entries`` random keys and values per row."""

    def __init__(self, adapter: Adapter, entries: int):
        self._adapter, self._entries = adapter, entries

    def __call__(self, count: int) -> Callable[[int], None]:
        return partial(self._write, self._cache(count))

    def _write(self, cache: DynamicCache, tokens: int) -> None:
        model, rows = self._adapter.model, cache.layers[0].keys.shape[0]
        ids = torch.full((rows, self._entries + 1), FILLER, device=self._adapter.device)
        with _own_attention(self._adapter.decoder):
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=cache,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )

    def _cache(self, rows: int) -> DynamicCache:
        decoder, dtype = self._adapter.decoder, self._adapter.dtype
        groups, head_dim = kv_heads(decoder)
        cache = DynamicCache(config=decoder.config)
        for layer in range(len(decoder.layers)):
            shape = (2, rows, groups, self._entries, head_dim)
            cache.update(*torch.randn(shape, device=self._adapter.device, dtype=dtype), layer)
        return cache


@contextmanager
def _own_attention(decoder: torch.nn.Module) -> Iterator[None]:
    """The decoder with the library's attention in place of the engine's."""
    decoder.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        decoder.set_attn_implementation(NAME)
