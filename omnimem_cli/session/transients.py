"""What a watch takes on the device beside the weights and what it retains: encoders, a chunk on its way, a question.

Upper bounds from a config's widths, made of the tensors that are alive together where each stage holds most; the tests
compare them with what is really alive. Knows configs and shapes; knows no budget and loads no weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedConfig

from omnimem_cli.base.settings import ANSWER_TOKENS
from omnimem_cli.media.segment import PAIR
from omnimem_cli.memory.attention import ROWS
from omnimem_cli.memory.attention_by_time import AT_ONCE, Moments
from omnimem_cli.memory.attention_kernels import BLOCK
from omnimem_cli.memory.fork import READ_BYTES
from omnimem_cli.memory.quantized import MOST_AT_ONCE
from omnimem_cli.memory.tail import TAIL_STEP
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.towers.vision import PAIRS_AT_ONCE
from omnimem_cli.session.evidence import EIGHTHS

QUESTIONS, QUESTION_TOKENS = 16, 256
"""Most questions that are asked at once, and the tokens that one of a preset may take."""

FRAME_TOKENS = 32
"""Of the chat template around a question: closing marks, roles."""

ROW_BYTES = 3 * 2**24
"""The most that a fork copies of entries that its rows do not share: to read more of them, padded, would take longer
than to begin with each row."""

MEL_RATE, BINS = 100, 128  # mel frames per second, and values of each
HALF = 2  # bytes of the float16 in which attention by time is held
PLACE = 4 * 8  # bytes of where a token comes from: pair and cell, and the steps towards them
WIDE = 4  # bytes of the float32 in which rotary positions, scores and pixels are worked out


@dataclass(frozen=True)
class Widths:
    """Values per token, patch or frame: ``queries`` and ``keys`` over all heads, ``mlp`` a third of what it
    holds at once: of experts, the token's row for each of those at work, gathered, made, weighed and put back."""

    hidden: int
    mlp: int
    queries: int
    keys: int
    heads: int
    layers: int
    vocab: int
    vision: int
    vision_mlp: int
    patch: int  # pixels along one side
    deepstack: int  # features as wide as ``hidden`` beside every embedding
    audio: int
    audio_mlp: int


def widths(config: PreTrainedConfig) -> Widths:
    """Of a Thinker's or a video-SALMONN's config."""
    text, vision, audio = config.get_text_config(), config.vision_config, config.audio_config
    sound = audio if isinstance(audio, dict) else audio.to_dict()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inside = max(getattr(text, "moe_intermediate_size", 0), math.ceil(4 * text.hidden_size / 3))
    experts = getattr(text, "num_experts_per_tok", 0) * inside
    former = sound.get("qformer_config", {})
    return Widths(
        hidden=text.hidden_size,
        mlp=max(text.intermediate_size, experts),
        queries=text.num_attention_heads * head_dim,
        keys=text.num_key_value_heads * head_dim,
        heads=text.num_attention_heads,
        layers=text.num_hidden_layers,
        vocab=text.vocab_size,
        vision=vision.hidden_size,
        vision_mlp=vision.intermediate_size,
        patch=vision.patch_size,
        deepstack=len(getattr(vision, "deepstack_visual_indexes", ())),
        audio=max(sound["d_model"], former.get("hidden_size", 0)),
        audio_mlp=max(sound["encoder_ffn_dim"], former.get("intermediate_size", 0)),
    )


def transient_bytes(w: Widths, plan: Plan, chunk_tokens: int, itemsize: int, stride: int = 1) -> int:
    """Bytes that come and go while a chunk of ``chunk_tokens`` is encoded, then watched by a policy that scores every
    ``stride``-th query."""
    encoders = _encoders(w, plan, chunk_tokens, itemsize)
    scores = 2 * w.heads * BLOCK * WIDE // stride  # of one block of keys, while the last one's are still there
    fed = 2 + 3 * w.deepstack  # by segment and joined; features once more, those of the picture alone
    return fed * chunk_tokens * w.hidden * itemsize + max(encoders, _layer(w, chunk_tokens, itemsize, scores))


def ahead_bytes(w: Widths, plan: Plan, chunk_tokens: int, itemsize: int) -> int:
    """Besides, where the next chunk is encoded meanwhile: its encoders, and what they make, by segment."""
    made = (1 + w.deepstack) * chunk_tokens * w.hidden * itemsize
    return made + _encoders(w, plan, chunk_tokens, itemsize)


def standing_bytes(w: Widths, plan: Plan, itemsize: int) -> int:
    """Where pictures are left out: the one that stands, once more among a segment's, and the one that follows."""
    pairs = max(1, math.ceil(plan.format.fps * plan.format.segment_s / PAIR))
    picture = math.ceil(plan.visual_tokens_per_segment / pairs) * w.hidden * (1 + w.deepstack) * itemsize
    return (3 + pairs) * picture + plan.visual_tokens_per_segment * PLACE


def focus_tokens(texts: Sequence[str]) -> int:
    """The most tokens of a focus, which go through the decoder with every chunk: a token is at least a byte."""
    return len(texts) * (FRAME_TOKENS + max(len(text.encode()) for text in texts)) if texts else 0


def focus_bytes(w: Widths, tokens: int) -> int:
    """What the ``tokens`` of a focus pay to one block of entries, while that of the last one is still there."""
    return 2 * tokens * w.heads * BLOCK * WIDE


def question_tokens_in_flight(answer_tokens: int) -> int:
    """Tokens of questions and answers that may stand at once: a full batch of usual answers, fewer of longer ones."""
    each = -(-(QUESTION_TOKENS + answer_tokens) // TAIL_STEP) * TAIL_STEP  # a fork's tail grows by whole steps
    return min(QUESTIONS * each, max(QUESTIONS * (QUESTION_TOKENS + ANSWER_TOKENS), each))


def question_bytes_in_flight(w: Widths, itemsize: int, tokens: int) -> int:
    """A batch of questions: keys and values of their own in every layer, one layer's copy, logits."""
    return tokens * 2 * w.keys * itemsize * (w.layers + 1) + 2 * QUESTIONS * w.vocab * WIDE


def asking_bytes(w: Widths, itemsize: int, tokens: int) -> int:
    """Bytes that come and go while a batch of ``tokens`` is asked: all questions in one layer, or later the keys and
    values of one layer's tail, once more in float32."""
    scores, copies = w.heads * ROWS * WIDE, 2 * w.keys * WIDE  # a block of queries is scored at once
    questions = QUESTIONS * QUESTION_TOKENS
    return max(_layer(w, questions, itemsize, scores) + questions * copies, tokens * copies)


def row_bytes(w: Widths, itemsize: int, tokens: int) -> int:
    """Of entries that each row reads alone, how many bytes may be copied for the steps of such a batch: what its
    questions took, which are read by then. While buffers grow there are those of one layer twice."""
    left = asking_bytes(w, itemsize, tokens) - tokens * 2 * w.keys * WIDE
    return min(ROW_BYTES, left * w.layers // (w.layers + 1))


def observed_bytes(w: Widths, moments: Moments, itemsize: int, tokens: int) -> int:
    """What a batch of ``tokens`` pays to each of the moments, held in parts and joined, and the queries that wait to be
    summed. The work on them is less than the scores of a layer, which are gone by then."""
    waiting = AT_ONCE * QUESTIONS * min(w.layers, len(EIGHTHS)) * w.queries * itemsize
    return 2 * HALF * tokens * moments.places + waiting


def requantized_bytes(w: Widths, itemsize: int, kept: int, chunk: int) -> int:
    """Of one layer at a time: ``kept`` entries dequantized to be read, a ``chunk`` turned back and quantized; or, while
    an answer is written, the entries of as many layers as a fork holds dequantized."""
    pair = 2 * w.keys * itemsize
    block = 5 * w.keys * WIDE  # keys in fp32 and rotated, codes taken apart, angles of each head
    reading = kept * pair + min(kept, MOST_AT_ONCE) * block
    quantizing = chunk * (pair + 5 * w.keys * WIDE)  # what stays, in fp32, over its steps, and angles
    return reading + max(quantizing, min(READ_BYTES, w.layers * kept * pair))


def copied_bytes(w: Widths, itemsize: int, kept: int) -> int:
    """While a second look is read, copies of the ``kept`` entries outside of it: of one layer at a time, or of as many
    layers as a fork holds."""
    layer = 2 * w.keys * itemsize * kept
    return layer + min(READ_BYTES, w.layers * layer)


def _encoders(w: Widths, plan: Plan, chunk_tokens: int, itemsize: int) -> int:
    """Picture and sound of a chunk, one after the other."""
    segments = max(1, chunk_tokens // max(plan.tokens_per_segment, 1))
    return max(_pictures(w, plan, segments, itemsize), _sound(w, plan, segments, itemsize))


def _pictures(w: Widths, plan: Plan, segments: int, itemsize: int) -> int:
    """All frames as rows of patches, of bytes and of numbers; of the tower what one pass over some pairs holds."""
    form = plan.format
    frames = math.ceil(form.fps * form.segment_s) * segments
    pixels = 3 * form.width * form.height * frames
    patches = form.width * form.height // w.patch**2 * min(math.ceil(frames / 2), PAIRS_AT_ONCE)
    attention = w.vision * (4 * itemsize + 4 * WIDE)
    tower = patches * (3 * w.vision * itemsize + max(attention, 3 * w.vision_mlp * itemsize))
    return max(pixels * (WIDE + 2), pixels * (WIDE + itemsize) + tower)


def _sound(w: Widths, plan: Plan, segments: int, itemsize: int) -> int:
    """Every window of a chunk at once: convolutions at the rate of mel frames, layers at half of it."""
    if not plan.audio_tokens_per_segment:
        return 0
    frames = math.ceil(plan.format.segment_s * MEL_RATE) * segments
    layers = 3 * w.audio * itemsize + max(4 * w.audio, 2 * w.audio_mlp) * itemsize
    spectrum = frames // segments * BINS * 10 * WIDE  # of one segment at a time: complex, its size, its square
    return spectrum + frames * (3 * BINS * WIDE + max(2 * w.audio * itemsize, layers // 2))


def _layer(w: Widths, tokens: int, itemsize: int, scores: int) -> int:
    """One decoder layer: the stream with the unit vectors of the layer's input; attention and ``scores`` bytes per
    token, or the MLP."""
    stream = 4 * w.hidden * itemsize + 2 * w.hidden * WIDE
    attention = 8 * w.queries * itemsize + 3 * w.queries * WIDE
    return tokens * (stream + max(attention + scores, 3 * w.mlp * itemsize))
