"""Draws the slides of the generated world: one large coloured shape with a digit on it.

Knows pictures only; when a slide is shown is the business of `video.py`. Everything is drawn from formulas and
three small bitmap fonts, so the pictures are the same on every machine and need no font files.
"""

from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (215, 30, 35),
    "orange": (245, 135, 20),
    "yellow": (240, 220, 40),
    "green": (35, 155, 60),
    "cyan": (50, 205, 220),
    "blue": (40, 65, 215),
    "purple": (130, 45, 175),
    "pink": (250, 140, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
DIGITS = tuple("0123456789")

_FONTS = (
    # Each digit is 7 rows of 5 columns, the rows written as hexadecimal bytes, most significant bit left.
    "0E1113151911 0E/04 0C04040404 0E/0E1101020408 1F/1F0204020111 0E/02060A121F02 02/1F101E010111 0E/"
    "0608101E1111 0E/1F0102040808 08/0E11110E1111 0E/0E11110F0102 0C",
    "1F1111111111 1F/040404040404 04/1F01011F1010 1F/1F01010F0101 1F/11111F010101 01/1F10101F0101 1F/"
    "1F10101F1111 1F/1F0101010101 01/1F11111F1111 1F/1F11111F0101 1F",
    "0E1B1B1B1B1B 0E/0C1C0C0C0C0C 1E/1E03030E1818 1F/1E03030E0303 1E/1B1B1B1F0303 03/1F18181E0303 1E/"
    "0E18181E1B1B 0E/1F0303060C0C 0C/0E1B1B0E1B1B 0E/0E1B1B0F0303 0E",
)


def _font(text: str) -> np.ndarray:
    rows = np.array([list(bytes.fromhex(digit.replace(" ", ""))) for digit in text.split("/")])
    bits = (rows[..., None] >> np.arange(4, -1, -1)) & 1
    return np.pad(bits.astype(np.float32), ((0, 0), (2, 2), (2, 2)))


_GLYPHS = np.stack([_font(text) for text in _FONTS])  # [font, digit, 11 rows, 9 columns] with an empty border


@dataclass(frozen=True)
class Slide:
    """What a slide says: a colour, a shape and a digit."""

    colour: str
    shape: str
    digit: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape} {self.digit}"


@dataclass(frozen=True)
class Look:
    """What a slide does not say: where and how it is drawn. Lengths are fractions of the picture's side."""

    x: float
    y: float
    radius: float
    tilt: float
    font: int
    digit_height: float
    paper: tuple[float, float, float]
    tint: tuple[float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        """A look drawn from `rng`: dark or light paper, a little off centre, a little tilted."""
        level = rng.uniform(5, 60) if rng.random() < 0.5 else rng.uniform(205, 250)
        return cls(
            x=0.5 + rng.uniform(-0.05, 0.05),
            y=0.5 + rng.uniform(-0.05, 0.05),
            radius=rng.uniform(0.36, 0.44),
            tilt=rng.uniform(-0.2, 0.2),
            font=int(rng.integers(len(_FONTS))),
            digit_height=rng.uniform(0.30, 0.38),
            paper=tuple(level + rng.uniform(-6, 6, 3)),
            tint=tuple(rng.uniform(-14, 14, 3)),
        )


def _inside(shape: str, x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Signed distance-like value, positive inside the shape of radius `r` around the origin (y points down)."""
    if shape == "circle":
        return r - np.hypot(x, y)
    if shape == "square":
        return 0.86 * r - np.maximum(abs(x), abs(y))
    if shape == "diamond":
        return (1.12 * r - abs(x) - abs(y)) * 0.707
    if shape == "cross":
        long, short = 1.05 * r, 0.42 * r
        upright = np.minimum(long - abs(y), short - abs(x))
        return np.maximum(upright, np.minimum(long - abs(x), short - abs(y)))
    if shape == "triangle":
        half = 0.62 * r
        return np.minimum(half - y, half + 0.5 * y - 0.866 * abs(x))
    return _inside_star(x, y, 1.15 * r)


def _inside_star(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Positive inside a five-pointed star, folded into half of one point."""
    fifth = 2 * np.pi / 5
    angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    inner = 0.52 * r
    dx, dy = inner * np.cos(fifth / 2) - r, inner * np.sin(fifth / 2)
    return ((along - r) * dy - across * dx) / -np.hypot(dx, dy)


def _glyph(font: int, digit: str, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Bilinear sample of a digit's bitmap at fractional cells, 0 outside it."""
    bitmap = _GLYPHS[font, int(digit)]
    row, column = np.clip(row + 1.5, 0, 9.999), np.clip(column + 1.5, 0, 7.999)
    i, j = row.astype(int), column.astype(int)
    a, b = row - i, column - j
    top = bitmap[i, j] * (1 - b) + bitmap[i, j + 1] * b
    bottom = bitmap[i + 1, j] * (1 - b) + bitmap[i + 1, j + 1] * b
    return top * (1 - a) + bottom * a


def draw(slide: Slide | None, look: Look, size: int) -> np.ndarray:
    """The picture of `slide` (None: empty paper): uint8 [size, size, 3]."""
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = look.paper
    if slide is None:
        return picture.clip(0, 255).astype(np.uint8)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    dx, dy = grid[None, :] - look.x, grid[:, None] - look.y
    cos, sin = np.cos(look.tilt), np.sin(look.tilt)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    ink = np.clip(_inside(slide.shape, x, y, look.radius) * size + 0.5, 0, 1)[..., None]
    colour = np.array(COLOURS[slide.colour], np.float32) + np.array(look.tint, np.float32)
    picture = picture * (1 - ink) + colour * ink
    cell = look.digit_height / 7
    value = _glyph(look.font, slide.digit, x / cell + 2.5, y / cell + 3.5)
    stroke = np.clip((value - 0.5) * cell * size + 0.5, 0, 1)[..., None]
    bright = colour @ np.array([0.3, 0.59, 0.11], np.float32) > 120
    picture = picture * (1 - stroke) + (0 if bright else 255) * stroke
    return picture.clip(0, 255).astype(np.uint8)
