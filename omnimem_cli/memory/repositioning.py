"""Maps from a token's own rotary position to the one it has now, and the rotation of kept keys when that changes.

Knows a decoder's rotary embedding and stores; knows no policy, no score and no text. The table's column ``position``
always holds what the model's own rule gave a token (*raw*); a position map gives the present one (its *place*):

- ``keep``: place is raw. Exact, but places grow with the stream.
- ``eager``: after every chunk the raw values still in use are renumbered without gaps, layer by layer; ``lazy``: only
  when places come near the trained range. (HERMES, arXiv 2601.14724; on text, eager is StreamingLLM's index in the
  cache.) HERMES ranks each axis alone; here one map serves all three, so that text keeps equal axes and grids their
  shape.
- ``retime``: when the next chunk would pass the trained range, older times are squeezed together to make room for it.

A move is exact but for one more rounding of the stored keys to their type: eager pays it per chunk, the others seldom.
Quantized keys are rotated when they are read, so that moves cost them nothing.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from omnimem_cli.base.choices import POSITIONS
from omnimem_cli.memory.rotary import Rotary, apply_rotary
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import PREFIX, VISUAL, TokenChunk

MARGIN = 32  # one part in so many of the trained range is left to the question


class PositionMap(Protocol):
    """Places of raw positions. ``per_layer``: layers may differ; ``moves``: places may differ from raw; ``anchor``: the
    last position that never moves, -1 before the first chunk."""

    per_layer: bool
    moves: bool
    anchor: int
    rotary: Rotary | None
    nbytes: int  # what the map itself retains

    def place(self, layer: int, raw: Tensor) -> Tensor:
        """Raw [3, ...] to places [3, ...]."""

    def before_chunk(self, stores: list[Store], chunk: TokenChunk) -> None:
        """May move the stores' keys before a chunk, so that it stays in range."""

    def after_chunk(self, stores: list[Store], next_position: int) -> None:
        """May move the stores' keys after an eviction; the next token comes at raw ``next_position`` or later."""

    def state(self) -> dict:
        """Plain tensors and numbers for ``load_state``."""

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""


class Placement:
    """Places of the tokens of one forward pass: ``base`` [3, B, n] for the decoder, which rotates all layers alike;
    ``rotate`` corrects the layers whose map differs from the first one's. raw [3, B, n].
    """

    def __init__(self, position_map: PositionMap, raw: Tensor):
        self._map, self._raw = position_map, raw
        self.base = position_map.place(0, raw)

    def rotate(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys [B, H, n, d] of a layer, from ``base`` to where the layer wants them."""
        if layer == 0 or not self._map.per_layer:
            return q, k
        place = self._map.place(layer, self._raw)
        if place is self.base:  # raw, as long as the map moves nothing
            return q, k
        return self._map.rotary.rotate(q, place - self.base), self._map.rotary.rotate(k, place - self.base)


class TextPlacement:
    """Places of texts that follow the memory one by one: their own positions and a ``shift`` [3, B or 1, 1].

    ``turns``: by layer cos and sin [1, 1, 1, d] from the decoder's places to the layer's, None where these are the
    same. All is known before the first token, so that no token waits for the device.
    """

    def __init__(self, shift: Tensor, turns: Sequence[tuple[Tensor, Tensor] | None] | None = None):
        self._shift, self._turns = shift, turns

    @classmethod
    def after_memory(
        cls, position_map: PositionMap, layers: int, next_position: int, device: torch.device
    ) -> "TextPlacement":
        """Of texts whose first raw position is ``next_position``."""
        first = torch.full((3, 1, 1), next_position, device=device)
        base = position_map.place(0, first)
        if not position_map.per_layer:
            return cls(base - first)
        deltas = (position_map.place(layer, first) - base for layer in range(layers))
        return cls(base - first, [_turn(position_map.rotary, delta) for delta in deltas])

    def of_rows(self, rows: Sequence[int]) -> "TextPlacement":
        """That of these texts."""
        shift = self._shift if self._shift.shape[1] == 1 else self._shift[:, list(rows)]
        return TextPlacement(shift, self._turns)

    def base(self, raw: Tensor) -> Tensor:
        """Raw [3, B, n] to the decoder's places."""
        return raw + self._shift

    def rotate(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Placement.rotate``."""
        turn = None if self._turns is None else self._turns[layer]
        return (q, k) if turn is None else (apply_rotary(q, *turn), apply_rotary(k, *turn))


def _turn(rotary: Rotary, delta: Tensor) -> tuple[Tensor, Tensor] | None:
    if not bool(delta.any()):
        return None
    cos, sin = rotary.angles(delta)
    return cos[:, None], sin[:, None]


def make_position_map(mode: str, decoder: nn.Module, trained: int | None = None) -> PositionMap:
    """The position map of a mode. ``trained``: positions seen in training; None takes the decoder's own maximum."""
    assert mode in POSITIONS, f"positions are one of {', '.join(POSITIONS)}, not {mode}"
    if mode == "keep":
        return KeepPositions()
    trained = trained or decoder.config.max_position_embeddings
    limit = trained - max(trained // MARGIN, 1)
    if mode == "retime":
        return RetimePositions(Rotary(decoder), limit)
    return CompactPositions(Rotary(decoder), len(decoder.layers), limit if mode == "lazy" else None)


class KeepPositions:
    """Every token stays where it was."""

    per_layer: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    anchor: ClassVar[int] = -1
    rotary: ClassVar[None] = None
    nbytes: ClassVar[int] = 0

    def place(self, layer: int, raw: Tensor) -> Tensor:
        """Raw itself."""
        return raw

    def before_chunk(self, stores: list[Store], chunk: TokenChunk) -> None:
        """Nothing moves."""

    def after_chunk(self, stores: list[Store], next_position: int) -> None:
        """Nothing moves."""

    def state(self) -> dict:
        """Nothing to remember."""
        return {}

    def load_state(self, state: dict) -> None:
        """Nothing to remember."""


class CompactPositions:
    """Raw values in use are renumbered above the anchor. ``limit`` None: after every chunk; else when places pass it.

    A layer's map is the ascending list of raw values that were in use when it was last renumbered (*breakpoints*): the
    i-th has place anchor + 1 + i, a value between two has that of the lower, values after the last follow one by one.
    """

    per_layer: ClassVar[bool] = True
    moves: ClassVar[bool] = True

    def __init__(self, rotary: Rotary, layers: int, limit: int | None):
        self.rotary, self._limit = rotary, limit
        self.anchor = -1
        self._breakpoints: list[Tensor | None] = [None] * layers

    @property
    def nbytes(self) -> int:
        """Bytes of the breakpoints."""
        return sum(k.numel() * k.element_size() for k in self._breakpoints if k is not None)

    def place(self, layer: int, raw: Tensor) -> Tensor:
        """Raw [3, ...] to places [3, ...]."""
        breakpoints = self._breakpoints[layer]
        if breakpoints is None:
            return raw
        breakpoints = breakpoints.to(raw.device)
        rank = torch.searchsorted(breakpoints, raw.to(breakpoints.dtype).contiguous(), right=True)
        return torch.where(raw <= self.anchor, raw, self.anchor + rank + (raw - breakpoints[-1]).clamp(min=0))

    def before_chunk(self, stores: list[Store], chunk: TokenChunk) -> None:
        """Learn, from the first chunk, which positions never move."""
        if self.anchor < 0:
            self.anchor = anchor_of(chunk)

    def after_chunk(self, stores: list[Store], next_position: int) -> None:
        """Renumber every layer, if it is time."""
        if self._limit is not None and self._max_position(next_position) <= self._limit:
            return
        for layer, store in enumerate(stores):
            raw = store.table.raw_positions
            before, self._breakpoints[layer] = self.place(layer, raw), self._in_use(raw, next_position)
            _move(store, self.rotary, self.place(layer, raw) - before)

    def _max_position(self, raw: int) -> int:
        places = [k if k is None else self.anchor + len(k) + raw - int(k[-1]) for k in self._breakpoints]
        return max(raw if place is None else place for place in places)

    def _in_use(self, raw: Tensor, next_position: int) -> Tensor:
        """int32, ascending; the last value seen counts as one, so that what comes next follows at once."""
        values = torch.cat([raw[raw > self.anchor], raw.new_tensor([max(next_position - 1, self.anchor + 1)])])
        return values.unique().to(torch.int32)

    def state(self) -> dict:
        """Anchor and breakpoints."""
        return {"anchor": self.anchor, "breakpoints": [None if k is None else k.clone() for k in self._breakpoints]}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self.anchor, self._breakpoints = state["anchor"], list(state["breakpoints"])


class RetimePositions:
    """The newest times keep their distances, the older ones are squeezed together evenly; order is kept.

    Times count from the anchor. Those up to the *knee* are multiplied by ``old``, those after it by ``new``, which is 1
    unless one chunk takes more than half of the range. When a chunk would pass the limit, the knee moves to a quarter
    of the range before it, and what is older shares what is left. So a chunk is always seen at the spacing that the
    model was trained on, however long the stream. A grid coordinate ahead of its token's time keeps its distance from
    it (grids that move with time); one behind it does not move (grids at the start of the stream, below the anchor).
    """

    per_layer: ClassVar[bool] = False
    moves: ClassVar[bool] = True
    nbytes: ClassVar[int] = 0

    def __init__(self, rotary: Rotary, limit: int):
        self.rotary, self._limit = rotary, limit
        self.anchor, self._spacing = -1, Spacing()

    def place(self, layer: int, raw: Tensor) -> Tensor:
        """Raw [3, ...] to places [3, ...]."""
        if self._spacing == Spacing():
            return raw
        time, own = self._timed(raw[:1]), self._timed(raw[1:])
        ahead = raw[1:] - raw[:1]
        return torch.cat([time, torch.where(ahead > 0, time + ahead, own)])

    def _timed(self, raw: Tensor) -> Tensor:
        late, (knee, old, new) = (raw - self.anchor).clamp(min=0), self._spacing
        return raw - late + late.clamp(max=knee).double() * old + (late - knee).clamp(min=0).double() * new

    def before_chunk(self, stores: list[Store], chunk: TokenChunk) -> None:
        """Make room, if the chunk would pass the limit."""
        if self.anchor < 0:
            self.anchor = anchor_of(chunk)
        if float(self.place(0, chunk.positions).max()) <= self._limit:
            return
        before = [self.place(0, store.table.raw_positions) if len(store) else None for store in stores]
        self._spacing = self._spacing_for(chunk.positions)
        for store, places in zip(stores, before, strict=True):
            if places is not None:
                _move(store, self.rotary, self.place(0, store.table.raw_positions) - places)

    def _spacing_for(self, positions: Tensor) -> "Spacing":
        """Of a chunk at raw ``positions`` [3, n] and what came before it."""
        room, first = max(1, self._limit - self.anchor), max(0, int(positions[0].min()) - self.anchor - 1)
        length, new = int(positions.max()) - self.anchor - first, self._spacing.new
        while length * new > room / 2:
            new /= 2
        recent = min(first * new, room / 4)
        knee = first - int(recent / new)
        older = room - recent - max(length * new, room / 4)
        return Spacing(knee, min(new, older / knee) if knee else 1.0, new)

    def after_chunk(self, stores: list[Store], next_position: int) -> None:
        """Nothing moves."""

    def state(self) -> dict:
        """Anchor and spacing."""
        return {"anchor": self.anchor, **self._spacing._asdict()}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self.anchor, self._spacing = state["anchor"], Spacing(state["knee"], state["old"], state["new"])


class Spacing(NamedTuple):
    """Times up to ``knee`` are multiplied by ``old``, those after it by ``new``."""

    knee: int = 0
    old: float = 1.0
    new: float = 1.0


def anchor_of(chunk: TokenChunk) -> int:
    """The last position of a stream's first chunk that never moves: the prefix's, and the first frame's grid."""
    fixed = chunk.kind == PREFIX
    visual = chunk.kind == VISUAL
    if bool(visual.any()):
        fixed = fixed | (visual & (chunk.step == chunk.step[visual].min()))
    return int(chunk.positions[:, fixed].max()) if bool(fixed.any()) else 0


def _move(store: Store, rotary: Rotary, delta: Tensor) -> None:
    if bool(delta.any()):
        store.move(rotary, delta)
