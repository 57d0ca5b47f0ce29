"""A slice of fuzz cases whose process dies; worker processes import it by this name."""

import os

from omnimem_cli.bench import fuzz as fuzzing


class Deadly(fuzzing.Slice):
    """Its process dies on the second case, once."""

    def run(self):
        for case in super().run():
            if case.number == self.step:
                os._exit(3)
            yield case
