"""nano's tokenizer: byte-level BPE of the Qwen2 kind, in which every word of the world is one token.

Any other text works too, through its bytes. Special tokens have their published names.
"""

import json

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from omnimem_cli.tasks.prompts import NOT_IN_VIDEO, NOTE, NOTHING_SAID, SUMMARY, TITLE, TRANSCRIBE
from omnimem_cli.world.questions import WORDINGS
from omnimem_cli.world.slides import COLOURS, SHAPES, TITLES
from omnimem_cli.world.words import WORDS

ROLES = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _corpus() -> list[str]:
    """Every text the vocabulary should hold as whole words, with and without a space in front."""
    things = [*WORDS, *COLOURS, *SHAPES, *TITLES, "nothing"]
    texts = [SUMMARY, NOTE, TITLE, TRANSCRIBE, NOTHING_SAID, NOT_IN_VIDEO, "You are a helpful assistant."]
    texts += [text.replace("{slide}", "").replace("{word}", "") for kind in WORDINGS.values() for text in kind]
    texts += ["system user assistant seconds"]
    return [*things, *(f" {thing}" for thing in things), *texts, *(" " + text for text in texts)]


def build_tokenizer() -> Qwen2Tokenizer:
    """The tokenizer, trained on the world's vocabulary (the same every time)."""
    raw = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, initial_alphabet=sorted(alphabet), show_progress=False
    )
    raw.train_from_iterator([text for text in _corpus() for _ in range(2)], trainer)
    vocabulary, merges = raw.get_vocab(), _merges(raw)
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=ROLES, model_max_length=1_000_000)
    tokenizer.add_tokens([TURN_START, TURN_END], special_tokens=True)
    return tokenizer


def _merges(raw: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(raw.to_str())["model"]["merges"]]


def token_ids(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    """The token fields of the model's config."""
    ids = {role: tokenizer.convert_tokens_to_ids(text) for role, text in ROLES.items()}
    return {
        "audio_token_index": ids["audio_token"],
        "image_token_index": ids["image_token"],
        "video_token_index": ids["video_token"],
        "audio_start_token_id": ids["audio_bos_token"],
        "audio_end_token_id": ids["audio_eos_token"],
        "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"],
        "user_token_id": tokenizer.convert_tokens_to_ids("user"),
    }


def one_token(tokenizer: Qwen2Tokenizer, text: str) -> int:
    """The id of a text that is one token."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == 1, f"{text!r} is {len(ids)} tokens, the vocabulary must hold it whole"
    return ids[0]
