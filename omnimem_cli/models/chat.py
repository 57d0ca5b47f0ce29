"""The text around a video: what opens it, what closes it, how a question is put. Knows only a tokenizer."""

from transformers import PreTrainedTokenizerBase

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
USER = "<|im_start|>user\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"


class Prompt:
    """Token ids of the chat frame of Qwen-Omni models. ``header``: the system turn, if any, and the user's header."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: dict[str, int], system: str):
        self._tokenizer = tokenizer
        self._marks = marks
        self.header = self._special(system + USER)
        self._answer = self._special(ANSWER)

    def opening(self, picture: bool, sound: bool) -> list[int]:
        """Marks before the first segment; they share one position."""
        return [self._marks["vision_bos"]] * picture + [self._marks["audio_bos"]] * sound

    def closing(self, picture: bool, sound: bool) -> list[int]:
        """Marks after the last segment; they share one position."""
        return [self._marks["audio_eos"]] * sound + [self._marks["vision_eos"]] * picture

    def question(self, text: str) -> list[int]:
        """A user's text and the header of the answer. Names of special tokens in ``text`` stay plain text."""
        plain = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return plain + self._answer

    def _special(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]
