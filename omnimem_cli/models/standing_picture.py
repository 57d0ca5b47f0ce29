"""The picture that a stream has fed last, of which a part is fed with every frame pair that shows it again.

Knows tokens and segments; knows no tower and no position.
"""

import torch
from torch import Tensor

from omnimem_cli.media.segment import WHOLE, Segment


class StandingPicture:
    """What the vision tower made of the newest frame pair: ``newest`` [1, cells, D], [0, 0, 0] before the first.

    It is kept from segments alone of whose pairs anything may be left out.
    """

    def __init__(self) -> None:
        self.newest = torch.empty(0, 0, 0)

    def fed(self, segment: Segment, seen: Tensor) -> Tensor:
        """The tokens [n, D] of a segment that are fed, in order; ``seen`` [F, cells, D]: the pairs that it holds."""
        if segment.fed is None:
            return seen.flatten(0, 1)
        before, known = len(self.newest), torch.cat([each for each in (self.newest, seen) if len(each)])
        self.newest = known[-1:].clone()
        pair, cell = torch.from_numpy(segment.tokens_fed(known.shape[1])).nonzero(as_tuple=True)
        newest = torch.from_numpy((segment.fed == WHOLE).cumsum())[pair] + before - 1
        assert not len(newest) or newest[0] >= 0, "a picture is whole before it stands"
        return known[newest.to(known.device), cell.to(known.device)]

    def state(self) -> dict:
        """Plain numbers that ``load_state`` continues from."""
        return {"cells": self.newest.shape[1], "tokens": self.newest.flatten()}

    def load_state(self, state: dict, where: Tensor) -> None:
        """Continue where ``state`` was taken, in the type and on the device of ``where`` [n, D]."""
        cells, tokens = state["cells"], state["tokens"].to(where)
        assert len(tokens) % max(cells * where.shape[1], 1) == 0, "a picture is of whole tokens"
        self.newest = tokens.view(1, cells, -1) if cells else torch.empty(0, 0, 0)
