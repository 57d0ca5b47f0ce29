"""Answers bound to a grammar, by tiny random models of every family: whatever they write parses and fits."""

import json

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from salmonn_tiny import FAMILIES, tiny_salmonn
from schemas import random_schema
from streams import frames_of, media_of, segments_of, sound_of
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.memory.budget import even_budgets
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.models.adapter import WatchOptions
from omnimem_cli.models.loader import NANO, load
from omnimem_cli.session.choice import NO_PENALTIES, Choice, Sampling, nucleus
from omnimem_cli.session.grammar import BoundAnswer
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.presets.answer_schema import grammar, problems, value

MAKERS = {
    "qwen2.5-omni": tiny_omni,
    "qwen3-omni": tiny_qwen3_omni,
    **{family: lambda path, family=family: tiny_salmonn(path, family) for family in FAMILIES},
    "nano": lambda path: NANO,
}
LIMIT = 300
ITEM = {
    "type": "object",
    "properties": {"task": {"type": "string"}, "owner": {"type": ["string", "null"]}, "done": {"type": "boolean"}},
    "required": ["task", "owner", "done"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=MAKERS)
def session(request, tmp_path_factory):
    """A session of each family that has watched four seconds of noise, and draws at temperature 1."""
    return watched(load(str(MAKERS[request.param](tmp_path_factory.mktemp("model") / "tiny")), device="cpu"))


def watched(adapter, **sampling):
    media = media_of(4.0, 4.0)
    plan = adapter.plan(media, WatchOptions(max_pixels=112 * 84))
    stream, layers = adapter.open(media, plan), len(adapter.decoder.layers)
    sound = sound_of(4.0)
    stream.scan_audio(torch.from_numpy(sound))
    memory = Memory(adapter.decoder, make_policy("full"), even_budgets(layers, 99, 1, True, True), dtype=torch.float32)
    one = Session(stream, memory, 4096, sampling=Sampling(1.0, 1.0, 3) if not sampling else Sampling(**sampling))
    frames = frames_of(4.0, int(plan.format.fps), plan.format.width, plan.format.height)
    for _ in one.watch(segments_of(plan.format, frames, sound)):
        pass
    return one


def not_fitting(session, seeds, limit=LIMIT):
    """Seeds whose schema the answer does not fit, with the answer."""
    schemas = [random_schema(seed) for seed in seeds]
    answers = session.ask(["?"] * len(schemas), max_tokens=limit, grammars=[grammar(s) for s in schemas])
    return [(seed, a.text) for seed, s, a in zip(seeds, schemas, answers, strict=True) if not fits(s, a.text)]


def fits(schema, text):
    try:
        return Draft202012Validator(schema).is_valid(value(text))
    except ValueError:
        return False


def test_answers_of_every_family_fit_their_schemas(session):
    assert not_fitting(session, range(16)) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_answers_to_300_schemas_fit_them(session):
    assert not_fitting(session, range(300), limit=768) == []


def test_any_way_through_a_grammar_ends_in_time():
    adapter, rng = load("nano", device="cpu"), np.random.default_rng(0)
    for seed in range(40):
        schema = random_schema(seed)
        bound, limit = BoundAnswer(adapter.vocabulary, grammar(schema)), 200 + seed
        for step in range(limit):
            token = int(rng.choice(bound.allowed().nonzero()[0]))
            if token in adapter.eos_ids:
                break
            bound.write(token, limit - step - 1)
            if bound.complete:
                break
        assert fits(schema, adapter.decode(bound.written)), (seed, adapter.decode(bound.written))


def test_random_schemas_use_every_keyword_and_have_no_problem():
    schemas = [random_schema(seed) for seed in range(90)]
    assert [problems(schema) for schema in schemas if problems(schema)] == []
    text = json.dumps(schemas)
    allowed = Draft202012Validator.VALIDATORS.keys() & {key for s in schemas for key in keywords(s)}
    assert allowed >= {
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "enum",
        "const",
        "pattern",
        "format",
        "multipleOf",
        "prefixItems",
    }
    assert "\\u" in text and '"maxItems"' in text


def keywords(schema):
    if isinstance(schema, dict):
        yield from schema
        for sub in schema.values():
            yield from keywords(sub)
    if isinstance(schema, list):
        for sub in schema:
            yield from keywords(sub)


@pytest.fixture(scope="module")
def nano():
    return watched(load("nano", device="cpu"), temperature=0.0)


def test_a_free_answer_is_the_same_beside_a_bound_one(nano):
    alone = nano.ask(["What is shown?", "Who?"], max_tokens=12)
    together = nano.ask(["What is shown?", "List it.", "Who?"], max_tokens=12, grammars=[None, grammar(ITEM), None])
    assert [together[0], together[2]] == alone
    assert not fits(ITEM, alone[0].text)


def test_an_answer_near_its_limit_is_closed_and_says_so(nano):
    many = {"type": "array", "items": ITEM, "minItems": 2}
    (answer,) = nano.ask(["?"], max_tokens=140, grammars=[grammar(many)])
    assert fits(many, answer.text) and answer.tokens <= 140 and not answer.finished


def test_an_answer_that_cannot_be_closed_is_cut(nano):
    (answer,) = nano.ask(["?"], max_tokens=5, grammars=[grammar(ITEM)])
    assert answer.tokens == 5 and not answer.finished and not fits(ITEM, answer.text)


def test_an_answer_that_ends_in_time_is_not_touched(nano):
    (answer,) = nano.ask(
        ["?"], max_tokens=40, grammars=[grammar({"type": "array", "maxItems": 2, "items": {"const": 1}})]
    )
    assert answer.finished and fits({"type": "array", "maxItems": 2, "items": {"const": 1}}, answer.text)


def test_stop_texts_and_penalties_do_not_break_a_grammar(nano):
    schema = {"const": {"a": ["\nUser:", "<|im_end|>", "<|im_end|>", "<|im_end|>"]}}
    (answer,) = nano.ask(["?"], max_tokens=200, stop=["<|im_end|>", "a"], penalty=1e9, grammars=[grammar(schema)])
    assert value(answer.text) == schema["const"]


def test_what_a_grammar_does_not_allow_is_never_drawn():
    logits, allowed = torch.tensor([[9.0, 1.0, 8.0, 0.5]] * 2), np.array([[False, True, False, True], [True] * 4])
    choice = Choice(logits, Sampling(), NO_PENALTIES, bound=True)
    choice.prepare(allowed)
    masked = choice._permitted(logits)
    assert masked.argmax(-1).tolist() == [1, 0] and masked[0].isinf().tolist() == [True, False, True, False]


def test_the_nucleus_is_the_fewest_tokens_that_make_up_the_share():
    shares = torch.tensor([[0.1, 0.5, 0.05, 0.35]])
    assert nucleus(shares, 0.8).gt(0).tolist() == [[False, True, False, True]]
    assert nucleus(shares, 0.86).gt(0).tolist() == [[True, True, False, True]]
    assert nucleus(shares, 1.0).equal(shares)


@pytest.mark.parametrize("size", [7, 400, 20_011])
def test_a_draw_is_the_one_of_multinomial(size):
    """The same generator on the CPU gives the same tokens, row by row."""
    logits = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    choice = Choice(logits, Sampling(0.8, 0.9, 7), NO_PENALTIES, bound=False)
    generators = [torch.Generator().manual_seed(7) for _ in logits]
    shares = nucleus(((logits - logits.amax(-1, keepdim=True)) / 0.8).softmax(-1), 0.9)
    for _ in range(20):
        choice.prepare()
        rows = zip(shares, generators, strict=True)
        expected = torch.cat([torch.multinomial(row, 1, generator=generator) for row, generator in rows])
        assert torch.equal(choice(logits)[0], expected)


def test_a_draw_turns_on_no_order_of_almost_equal_tokens():
    """The floats of one question in a batch differ in the last bits from those of the question alone."""
    logits = torch.randn(1, 400, generator=torch.Generator().manual_seed(0)).round()

    def drawn(logits):
        choice, tokens = Choice(logits, Sampling(1.0, 1.0, 7), NO_PENALTIES, bound=False), []
        for _ in range(200):
            choice.prepare()
            tokens.append(int(choice(logits)[0]))
        return tokens

    noise = 1e-6 * torch.randn(1, 400, generator=torch.Generator().manual_seed(1))
    assert drawn(logits) == drawn(logits + noise)
