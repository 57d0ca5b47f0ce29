"""Draws the slides of the generated world: a large coloured shape with a digit on it, and a written word below.

Knows pictures only; when a slide is shown is the business of `video.py`. Everything is drawn from formulas and a few
small bitmaps, so the pictures are the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

from omnimem_cli.world.glyphs import DIGIT_FONTS, ROWS, digit, lettering, sample

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
TITLES = (
    "art", "bank", "code", "data", "film", "food", "goal", "jobs",
    "law", "menu", "news", "plan", "risk", "sales", "team", "vote",
)  # fmt: skip

SAYS = {"colour": tuple(COLOURS), "shape": SHAPES, "digit": DIGITS, "title": TITLES}
"""What a slide says, in order, and what there is of each."""


@dataclass(frozen=True)
class Slide:
    """What a slide says: a colour, a shape, a digit and a written word, its title."""

    colour: str
    shape: str
    digit: str
    title: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape} {self.digit} {self.title}"


@dataclass(frozen=True)
class Look:
    """What a slide does not say: where and how it is drawn. Lengths are fractions of the picture's side."""

    x: float
    y: float
    radius: float
    tilt: float
    font: int
    digit_height: float
    title_x: float
    title_y: float
    title_height: float
    paper: tuple[float, float, float]
    tint: tuple[float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        """A look drawn from `rng`: dark or light paper, a little off centre, a little tilted."""
        level = rng.uniform(5, 60) if rng.random() < 0.5 else rng.uniform(205, 250)
        return cls(
            x=0.5 + rng.uniform(-0.06, 0.06),
            y=0.4 + rng.uniform(-0.02, 0.02),
            radius=rng.uniform(0.31, 0.35),
            tilt=rng.uniform(-0.2, 0.2),
            font=int(rng.integers(DIGIT_FONTS)),
            digit_height=rng.uniform(0.27, 0.32),
            title_x=0.5 + rng.uniform(-0.05, 0.05),
            title_y=0.88 + rng.uniform(-0.015, 0.015),
            title_height=rng.uniform(0.17, 0.2),
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


def draw(slide: Slide | None, look: Look, size: int) -> np.ndarray:
    """The picture of `slide` (None: empty paper): uint8 [size, size, 3]."""
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = look.paper
    if slide is not None:
        grid = (np.arange(size, dtype=np.float32) + 0.5) / size
        picture = _draw_shape(picture, slide, look, grid)
        picture = _draw_title(picture, slide, look, grid)
    return picture.clip(0, 255).astype(np.uint8)


def _draw_shape(picture: np.ndarray, slide: Slide, look: Look, grid: np.ndarray) -> np.ndarray:
    """The shape with the digit on it."""
    dx, dy = grid[None, :] - look.x, grid[:, None] - look.y
    cos, sin = np.cos(look.tilt), np.sin(look.tilt)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    ink = np.clip(_inside(slide.shape, x, y, look.radius) * len(grid) + 0.5, 0, 1)[..., None]
    colour = np.array(COLOURS[slide.colour], np.float32) + np.array(look.tint, np.float32)
    picture = picture * (1 - ink) + colour * ink
    return _write(picture, digit(look.font, int(slide.digit)), x, y, look.digit_height, colour)


def _draw_title(picture: np.ndarray, slide: Slide, look: Look, grid: np.ndarray) -> np.ndarray:
    """The written word, below the shape."""
    x, y = np.broadcast_arrays(grid[None, :] - look.title_x, grid[:, None] - look.title_y)
    return _write(picture, lettering(slide.title), x, y, look.title_height, np.array(look.paper))


def _write(
    picture: np.ndarray, bitmap: np.ndarray, x: np.ndarray, y: np.ndarray, height: float, ground: np.ndarray
) -> np.ndarray:
    """Letter `bitmap` around the origin of x and y, black on bright ground and white on dark."""
    cell = height / ROWS
    middle = (bitmap.shape[1] - bitmap.shape[0] + ROWS) / 2
    value = sample(bitmap, x / cell + middle, y / cell + ROWS / 2)
    stroke = np.clip((value - 0.5) * cell * len(picture) + 0.5, 0, 1)[..., None]
    bright = ground @ np.array([0.3, 0.59, 0.11]) > 120
    return picture * (1 - stroke) + (0 if bright else 255) * stroke
