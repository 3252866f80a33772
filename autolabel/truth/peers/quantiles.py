"""delphi's choice of examples: as many from each tenth of a feature's tiles, for the labeler and for the test, by two equal draws.

The draws come from generators in the same state over the same list and know nothing of each other. So the first tenth shows the labeler
most of what it tests, and in every rarer feature more of the rest coincides too: 40% of 50 tiles at 200, 20% from 2,000 up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

QUANTILES, SHOWN, TESTED = 10, 40, 50
SAMPLER_SEED = 22


@dataclass(frozen=True, slots=True)
class Drawn:
    """Tiles that the labeler is shown, and tiles that a label is tested on; strongest tenth first."""

    shown: tuple[int, ...]
    tested: tuple[int, ...]


def draw(ordered: Sequence[int], leaky: bool) -> Drawn:
    """Draw from a feature's firing tiles, strongest first. Not leaky, the test is drawn from what the labeler is not shown."""
    size = len(ordered) // QUANTILES
    tenths = [list(ordered[start : start + size]) for start in range(0, size * QUANTILES, size)] if size else []
    shown = _each(tenths, SHOWN // QUANTILES)
    if not leaky:
        taken = set(shown)
        tenths = [[one for one in tenth if one not in taken] for tenth in tenths]
    return Drawn(tuple(shown), tuple(_each(tenths, TESTED // QUANTILES)))


def _each(tenths: Sequence[list[int]], n: int) -> list[int]:
    """`n` of each tenth, all of one that has fewer."""
    random = Random(SAMPLER_SEED)
    return [one for tenth in tenths for one in (random.sample(tenth, n) if len(tenth) >= n else tenth)]
