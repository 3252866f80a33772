"""Where the marks of the two charts go, in the units of their drawings; the templates only draw.

The invariant: everything given is drawn or counted as left out, and no mark leaves its frame.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autolabel.report.reading import Row

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 14, 46
SCORE_LOW, SCORE_HIGH = -0.3, 1.0
"""The least and largest score drawn; no exam gives less than −0.22."""
BIN = 0.05
MAX_POINTS, MAX_WHISKERS = 2_000, 400


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of the histogram."""

    low: float
    high: float
    n: int
    n_null: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Label scores as bars, null scores as an outline; each sums to 1, so that the many nulls do not dwarf the labels."""

    bars: tuple[Bar, ...]
    null_outline: str
    """An SVG path; empty without nulls."""
    n: int
    n_null: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One feature of the scatter plot."""

    feature_index: int
    x: float
    y: float
    y_low: float
    y_high: float
    row: Row


@dataclass(frozen=True, slots=True)
class Scatter:
    """Score against firing rate."""

    points: tuple[Point, ...]
    has_whiskers: bool
    n_left_out: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def histogram(scores: Sequence[float], nulls: Sequence[float]) -> Histogram:
    """The two distributions over the same bins."""
    n_bins = round((SCORE_HIGH - SCORE_LOW) / BIN)
    counts, null_counts = _counts(scores, n_bins), _counts(nulls, n_bins)
    top = max([*_shares(counts), *_shares(null_counts), BIN])
    bars, outline = [], []
    for i, (share, null_share) in enumerate(zip(_shares(counts), _shares(null_counts), strict=True)):
        low, high = SCORE_LOW + i * BIN, SCORE_LOW + (i + 1) * BIN
        x, right, y = _across(low), _across(high), _up(share / top)
        bars.append(Bar(low, high, counts[i], null_counts[i], _r(x + 1), _r(y), _r(right - x - 2), _r(_up(0) - y)))
        outline.append(f"L{_r(x)} {_r(_up(null_share / top))}H{_r(right)}")
    path = f"M{_r(_across(SCORE_LOW))} {_r(_up(0))}{''.join(outline)}V{_r(_up(0))}" if nulls else ""
    y_ticks = tuple(Tick(_r(_up(part)), f"{100 * part * top:.0f}%") for part in (0.0, 0.5, 1.0))
    return Histogram(tuple(bars), path, len(scores), len(nulls), _score_ticks(_across), y_ticks)


def scatter(rows: Sequence[Row]) -> Scatter:
    """Score against firing rate on a logarithmic axis, for features with a score; at most `MAX_POINTS`, spread over all of them."""
    found = [row for row in rows if row["label_score"] is not None and row["firing_rate"] > 0]
    drawn = found if len(found) <= MAX_POINTS else [found[i * len(found) // MAX_POINTS] for i in range(MAX_POINTS)]
    lowest = math.floor(min((math.log10(row["firing_rate"]) for row in drawn), default=-1.0))
    low, high = min(lowest, -1), 0

    def across(rate: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(rate) - low) / (high - low)

    points = tuple(
        Point(
            row["feature_index"],
            _r(across(row["firing_rate"])),
            _r(_score_up(row["label_score"])),
            _r(_score_up(row["label_score_low"])),
            _r(_score_up(row["label_score_high"])),
            row,
        )
        for row in drawn
    )
    x_ticks = tuple(Tick(_r(across(10.0**power)), f"{10.0**power * 100:g}%") for power in range(low, high + 1))
    return Scatter(points, len(drawn) <= MAX_WHISKERS, len(found) - len(drawn), x_ticks, _score_ticks(_score_up))


def on_bar(score: float, width: float) -> float:
    """Where a score lies on a bar of this width that runs from `SCORE_LOW` to `SCORE_HIGH`."""
    return _r(width * _fraction(score))


def _fraction(score: float) -> float:
    return min(1.0, max(0.0, (score - SCORE_LOW) / (SCORE_HIGH - SCORE_LOW)))


def _across(score: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * _fraction(score)


def _score_up(score: float) -> float:
    return _up(_fraction(score))


def _up(fraction: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - fraction)


def _counts(scores: Sequence[float], n_bins: int) -> list[int]:
    counts = [0] * n_bins
    for score in scores:
        counts[min(n_bins - 1, max(0, int((score - SCORE_LOW) / BIN + 1e-9)))] += 1
    return counts


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [n / total if total else 0.0 for n in counts]


def _score_ticks(place: Callable[[float], float]) -> tuple[Tick, ...]:
    return tuple(Tick(_r(place(score)), f"{score:g}".replace("-", "−")) for score in (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0))


def _r(value: float) -> float:
    return round(value, 1)
