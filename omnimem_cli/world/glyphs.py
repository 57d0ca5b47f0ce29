"""The bitmaps that slides are lettered with: three fonts of digits and one of capital letters.

Knows bitmaps, and how to sample one between its cells; not where on a slide they stand. No font files are needed, and
the letters are the same on every machine.
"""

import functools

import numpy as np

ROWS = 7
_BORDER = 2

# A glyph is 7 rows of 5 columns, the rows written as hexadecimal bytes, most significant bit left.
_DIGIT_FONTS = (
    "0E1113151911 0E/04 0C04040404 0E/0E1101020408 1F/1F0204020111 0E/02060A121F02 02/1F101E010111 0E/"
    "0608101E1111 0E/1F0102040808 08/0E11110E1111 0E/0E11110F0102 0C",
    "1F1111111111 1F/040404040404 04/1F01011F1010 1F/1F01010F0101 1F/11111F010101 01/1F10101F0101 1F/"
    "1F10101F1111 1F/1F0101010101 01/1F11111F1111 1F/1F11111F0101 1F",
    "0E1B1B1B1B1B 0E/0C1C0C0C0C0C 1E/1E03030E1818 1F/1E03030E0303 1E/1B1B1B1F0303 03/1F18181E0303 1E/"
    "0E18181E1B1B 0E/1F0303060C0C 0C/0E1B1B0E1B1B 0E/0E1B1B0F0303 0E",
)
_LETTERS = {
    "a": "0E11111F111111", "b": "1E11111E11111E", "c": "0E11101010110E", "d": "1E11111111111E", "e": "1F10101E10101F",
    "f": "1F10101E101010", "g": "0E11101711110E", "i": "0E04040404040E", "j": "0702020202120C", "k": "11121418141211",
    "l": "1010101010101F", "m": "111B1515111111", "n": "11191513111111", "o": "0E11111111110E", "p": "1E11111E101010",
    "r": "1E11111E141211", "s": "0F10100E01011E", "t": "1F040404040404", "u": "1111111111110E", "v": "11111111110A04",
    "w": "11111115151B11",
}  # fmt: skip


def _bits(text: str) -> np.ndarray:
    """[7 rows, 5 columns] of one glyph."""
    rows = np.array(list(bytes.fromhex(text.replace(" ", ""))))
    return ((rows[:, None] >> np.arange(4, -1, -1)) & 1).astype(np.float32)


_DIGITS = tuple(tuple(np.pad(_bits(digit), _BORDER) for digit in font.split("/")) for font in _DIGIT_FONTS)
DIGIT_FONTS = len(_DIGITS)


def digit(font: int, number: int) -> np.ndarray:
    """The bitmap of a digit with an empty border of two cells: [11, 9]."""
    return _DIGITS[font][number]


@functools.cache
def lettering(word: str) -> np.ndarray:
    """The bitmap of a word in capitals, a column between letters and an empty border of two cells: [11, 6 n + 3]."""
    letters = [np.pad(_bits(_LETTERS[letter]), ((0, 0), (0, 1))) for letter in word]
    return np.pad(np.concatenate(letters, 1)[:, :-1], _BORDER)


def sample(bitmap: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Bilinear sample at fractional cells of the glyphs (the centre of the first is 0.5), 0 outside of the border."""
    height, width = bitmap.shape
    edge = _BORDER - 0.5
    row, column = np.clip(row + edge, 0, height - 1.001), np.clip(column + edge, 0, width - 1.001)
    i, j = row.astype(int), column.astype(int)
    a, b = row - i, column - j
    top = bitmap[i, j] * (1 - b) + bitmap[i, j + 1] * b
    bottom = bitmap[i + 1, j] * (1 - b) + bitmap[i + 1, j + 1] * b
    return top * (1 - a) + bottom * a
