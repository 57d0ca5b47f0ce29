"""The step of an answer: one graph, few operators, and a host that seldom looks."""

import pytest
import torch
from host_reads import Operators, Reads
from sessions import session_of
from transformers import StaticCache

from omnimem_cli.memory.attention_by_time import AttentionByTime, Moments, RowMoments
from omnimem_cli.models.loader import load
from omnimem_cli.session import answering
from omnimem_cli.session.answer_step import READ_EVERY, CapturedStep
from omnimem_cli.session.answering import LOOKED_AT, AnswerLoop
from omnimem_cli.session.choice import GREEDY, NO_PENALTIES, Penalties, Sampling

TEXTS = ["Why?", "What is said at the very end of the recording?", "Who?"]


def loop_of(session, sampling=GREEDY, penalties=NO_PENALTIES, observer=None):
    """A batch of questions whose answers never end."""
    session.adapter.eos_ids = ()
    questions = session.stream.question(TEXTS)
    return AnswerLoop(session.adapter, session.memory.fork(), questions, sampling, penalties, observer)


def written(loop, tokens):
    loop.run(tokens, ())
    return loop.written


@pytest.fixture
def session(tiny_adapter):
    return session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60)[0]


WAYS = {
    "greedy": {},
    "drawn": {"sampling": Sampling(1.0, 0.9, 3)},
    "penalised": {"penalties": Penalties(1.3, 1.1, [[5], [6, 7], []])},
}


@pytest.mark.parametrize("captured", [False, True])
def test_an_answer_that_loops_is_written_no_further_and_the_others_are(session, monkeypatch, captured):
    if captured:
        monkeypatch.setattr(answering, "one_launch", lambda step, device: lambda: step())
    expected = written(loop_of(session), 100)
    first = session.adapter.decode(expected[0][: 2 * LOOKED_AT])
    loop = loop_of(session)
    answers = loop.run(100, (), loops=lambda text: text == first)
    assert loop.written == [expected[0][: 2 * LOOKED_AT], *expected[1:]]
    assert [answer.tokens for answer in answers] == [2 * LOOKED_AT, 100, 100]
    assert not any(answer.finished for answer in answers)


@pytest.mark.parametrize("captured", [False, True])
def test_each_answer_ends_at_its_own_limit_and_the_others_go_on(session, monkeypatch, captured):
    if captured:
        monkeypatch.setattr(answering, "one_launch", lambda step, device: lambda: step())
    expected, loop, limits = written(loop_of(session), 40), loop_of(session), [5, 40, 17]
    answers = loop.run(limits, ())
    assert loop.written == [tokens[:most] for tokens, most in zip(expected, limits, strict=True)]
    assert [answer.tokens for answer in answers] == limits and not any(answer.finished for answer in answers)


@pytest.mark.parametrize("way", WAYS)
def test_the_step_is_one_graph_for_all_tokens_of_an_answer(session, monkeypatch, way):
    tokens = 256 if way == "greedy" else 40
    expected = written(loop_of(session, **WAYS[way]), tokens)

    def compiled(step, _device):
        return torch.compile(step, fullgraph=True, backend="aot_eager")

    torch._dynamo.reset()
    monkeypatch.setattr(answering, "one_launch", compiled)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert written(loop_of(session, **WAYS[way]), tokens) == expected


def test_the_step_is_one_graph_while_evidence_is_observed(session, monkeypatch):
    observers = [AttentionByTime([(1, 0), (3, 2)], Moments(0.0, 1.0, 9)) for _ in range(2)]
    expected = written(loop_of(session, observer=observers[0]), 40)
    torch._dynamo.reset()
    ran = []

    def after_the_first(step, _device):
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        return lambda: compiled() if ran else ran.append(step())

    monkeypatch.setattr(answering, "one_launch", after_the_first)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert written(loop_of(session, observer=observers[1]), 40) == expected
    torch.testing.assert_close(*(observer.tokens() for observer in observers))


def test_a_layer_takes_few_more_operators_than_the_librarys_with_a_static_cache(session, tiny_folder):
    decoder = load(str(tiny_folder), device="cpu").decoder
    cache = StaticCache(config=decoder.config, max_cache_len=64)

    def theirs(length):
        at = torch.arange(length).expand(3, len(TEXTS), length)
        embeds = torch.zeros(len(TEXTS), length, decoder.config.hidden_size)
        decoder(inputs_embeds=embeds, position_ids=at, past_key_values=cache, use_cache=True)

    theirs(9)
    loop = loop_of(session)
    loop.run(4, ())
    counts = [per_layer(decoder, lambda: theirs(1)), per_layer(session.adapter.decoder, loop.step)]
    assert counts[0] > 50 and counts[1] <= 1.3 * counts[0], counts


def per_layer(decoder, step):
    """Operators of one layer of the decoder in a step."""
    found = []

    def count(_module, _args, _kwargs, mode=None):
        found.append(Operators())
        found[-1].__enter__()

    hooks = [
        decoder.layers[1].register_forward_pre_hook(count, with_kwargs=True),
        decoder.layers[1].register_forward_hook(lambda *_: found[-1].__exit__(None, None, None)),
    ]
    with torch.no_grad():
        step()
    for hook in hooks:
        hook.remove()
    return sum(found[0].count.values())


@pytest.mark.parametrize("positions", ["keep", "eager", "retime"])
@pytest.mark.parametrize("way", WAYS)
def test_the_host_looks_once_in_eight_tokens(tiny_adapter, way, positions, monkeypatch):
    session, _, _ = session_of(tiny_adapter, 9.0, 9.0, policy="omnimem", entries=60, positions=positions)
    written(loop_of(session, **WAYS[way]), 2)  # a process tries its kernels once
    monkeypatch.setattr(answering, "one_launch", lambda step, _device: lambda: step())
    observer = AttentionByTime([(1, 0)], Moments(0.0, 1.0, 9))
    loop = loop_of(session, observer=observer, **WAYS[way])
    with Reads() as reads, Operators() as operators:
        loop.run(64, ())
    assert reads.count == 64 / READ_EVERY
    assert not operators.reads


def ended_one_by_one(session, way, observer, reading):
    """A loop whose three answers end after one another, and how many rows each of its steps had."""
    questions = session.stream.question(TEXTS)
    loop = AnswerLoop(session.adapter, reading(session), questions, observer=observer, **WAYS[way])
    write, rows = loop._write, []

    def until(row, token, left, stop):
        token = write(row, token, left, stop)
        loop.open[row] = loop.open[row] and len(loop.written[row]) < ENDS[row]
        return token

    loop._write = until
    loop.run_step = loop.step = Counted(loop.step, rows)
    loop.run(20, ())
    return loop, rows


class Counted:
    """A step that notes how many rows it has."""

    def __init__(self, step, rows):
        self.step, self.rows = step, rows

    def __getattr__(self, name):
        return getattr(self.step, name)

    def __call__(self):
        self.rows.append(len(self.step.tokens))
        self.step()


ENDS = [12, 2, 5]
SPANS = ((0.0, 5.0), (0.0, 5.0), (5.0, 9.0))


def copies(session, row_bytes):
    return session.memory.fork_copies([session.memory.copy_window(*span) for span in SPANS], row_bytes)


MOMENTS = {
    "memory": lambda: Moments(0.0, 1.0, 9),
    "copies": lambda: RowMoments([Moments.of(*span) for span in SPANS]),
    "copies before the text": lambda: RowMoments([Moments.of(*span) for span in SPANS]),
}
READINGS = {
    "memory": lambda session: session.memory.fork(),
    "copies": lambda session: copies(session, 0),
    "copies before the text": lambda session: copies(session, 2**24),
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("way", WAYS)
def test_answers_and_their_attention_are_the_same_where_ended_ones_are_dropped(session, way, reading, monkeypatch):
    session.adapter.eos_ids = ()
    observers = [AttentionByTime([(1, 0), (3, 2)], MOMENTS[reading]()) for _ in range(2)]
    loop, rows = ended_one_by_one(session, way, observers[0], READINGS[reading])
    assert rows == [3] + [2] * 3 + [1] * 7 and [len(row) for row in loop.written] == ENDS
    monkeypatch.setattr(AnswerLoop, "_drop_ended", lambda loop: None)
    whole, rows = ended_one_by_one(session, way, observers[1], READINGS[reading])
    assert rows == [3] * 11 and whole.written == loop.written
    questions = observers[1].tokens().shape[1] - 11
    for row, end in enumerate(ENDS):
        one, other = (observer.tokens()[row, : questions + end - 1] for observer in observers)
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.tensor(loop.chosen_logs[0]), torch.tensor(whole.chosen_logs[0]))


def test_a_step_that_cannot_be_captured_runs_as_written():
    ran = []
    step = CapturedStep(lambda: ran.append(1))
    step()
    with pytest.warns(UserWarning, match="without a CUDA graph"):
        step()
    step()
    assert len(ran) == 3
