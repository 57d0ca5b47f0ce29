"""Text as search compares it: without case, accents and variant forms of letters. Knows characters; knows no file.

Decomposition and case folding are those of the Unicode standard (NFKD, full case folding), so the rules are the same
whatever the version of SQLite.
"""

import re
import unicodedata
from collections.abc import Callable

_BARE = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"}  # letters that do not decompose
_SPACELESS = re.compile(
    "[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7ff"
    "\uf900-\ufaff\U00020000-\U000323af]"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese; Korean too, where particles are attached to words."""


class _Table(dict):
    """A table for ``str.translate`` that computes an entry when it is first needed."""

    def __init__(self, entry: Callable[[str], str]):
        self.entry = entry

    def __missing__(self, code: int) -> str:
        self[code] = self.entry(chr(code))
        return self[code]


def _fold_character(character: str) -> str:
    bare = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return unicodedata.normalize("NFC", "".join(_BARE.get(c, c) for c in bare if not _is_accent(c)))


def _is_accent(character: str) -> bool:
    """Accents, Hebrew points and Arabic vowel signs; not the marks that make another letter (kana, Indic, Thai)."""
    kind = unicodedata.combining(character)
    return 10 <= kind <= 35 or kind >= 200


def _word_character(character: str) -> str:
    return character if has_words(character) and not is_spaceless(character) else " "


def _clean_character(character: str) -> str:
    return " " if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character


_FOLDED, _WORDS, _CLEAN = _Table(_fold_character), _Table(_word_character), _Table(_clean_character)


def clean(text: str) -> str:
    """One line in composed form (NFC), without control characters and lone surrogates."""
    return unicodedata.normalize("NFC", " ".join(text.translate(_CLEAN).split()))


def fold(text: str) -> str:
    """The form in which two texts are compared; ``text`` is `clean`. Each character is folded by itself."""
    return text.lower() if text.isascii() else text.translate(_FOLDED)


def origins(text: str) -> list[int]:
    """For each character of ``fold(text)`` the index of its character in ``text``."""
    return [index for index, character in enumerate(text) for _ in fold(character)]


def words(folded: str) -> str:
    """The same text, as long, with a space for all that is in no word of a script with spaces."""
    return folded.translate(_WORDS)


def has_words(folded: str) -> bool:
    """Whether there is a letter, a digit or a mark in it."""
    return any(unicodedata.category(c)[0] in "LNM" for c in folded)


def is_spaceless(folded: str) -> bool:
    """Whether it has characters of a script that puts no spaces between words."""
    return _SPACELESS.search(folded) is not None
