"""The numbers at the top of a report.

The invariant: scores of different scorers, judges or answer modes are never averaged together (validity §14), and every average says how
many of the alive features it covers.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import binom

from autolabel.intervals import wilson
from autolabel.report import reading
from autolabel.report.numbers import Figure
from autolabel.report.reading import Row
from autolabel.store.connection import Database

STATUSES = ("labelled", "abstained", "failed", "pending", "silent", "too_few")


@dataclass(frozen=True, slots=True)
class RateBin:
    """Features whose firing rate lies between two powers of ten."""

    low: float
    high: float
    n_alive: int
    n_scored: int
    median: Figure


@dataclass(frozen=True, slots=True)
class Headline:
    """What one judge found: all scores here can be compared with one another."""

    scorer: str
    judge: str
    answer_mode: str
    scores: tuple[float, ...]
    nulls: tuple[float, ...]
    median: Figure
    above_nulls: Figure
    """Share of labels whose lift over labels of other features has an interval above zero."""
    bins: tuple[RateBin, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """`evidence` is the evidence set with its SAE and corpus; counts are of features."""

    evidence: Row
    statuses: dict[str, int]
    n_alive: int
    """Features that can be labelled and scored, dense ones included."""
    n_dense: int
    n_labelled: int
    n_scored: int
    headlines: tuple[Headline, ...]
    """By number of scores, the largest first."""
    calibrations: tuple[Row, ...]
    n_near_copies: int
    n_test_tiles: int
    cost_usd: float | None
    llm_tokens: int
    last_change: str


def load_summary(db: Database, evidence: Row, labels: Sequence[Row]) -> Summary:
    """The summary of one evidence set, given its rows of `feature_labels`."""
    with db.read():
        nulls = reading.null_scores(db, evidence["evidence_set_id"])
        copies = reading.near_copies(db, evidence["evidence_set_id"])
        judges = reading.calibrations(db)
        runs = reading.rows(db, "SELECT max(coalesce(finished_utc, started_utc))::VARCHAR AS last_utc FROM runs")
    alive = [row for row in labels if row["evidence_status"] in ("alive", "dense")]
    counts = Counter(row["status"] for row in labels)
    costs = [row["cost_usd"] for row in labels]
    return Summary(
        evidence=evidence,
        statuses={status: counts[status] for status in STATUSES},
        n_alive=len(alive),
        n_dense=sum(row["evidence_status"] == "dense" for row in labels),
        n_labelled=counts["labelled"],
        n_scored=sum(row["label_score"] is not None for row in labels),
        headlines=tuple(_headlines(labels, alive, nulls)),
        calibrations=tuple(_newest_of_each(judges)),
        n_near_copies=copies["n_near_copies"],
        n_test_tiles=copies["n_sampled"],
        cost_usd=None if any(cost is None for cost in costs) else sum(costs),
        llm_tokens=sum(row["llm_tokens"] for row in labels),
        last_change=(runs[0]["last_utc"] or "").split(".")[0],
    )


def _headlines(labels: Sequence[Row], alive: Sequence[Row], nulls: dict[int, list[Row]]) -> list[Headline]:
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in labels:
        if row["label_score"] is not None:
            groups[(row["headline_scorer"], row["judge"], row["answer_mode"])].append(row)
    return [
        Headline(
            *key,
            scores=tuple(row["label_score"] for row in group),
            nulls=tuple(null["value"] for row in group for null in nulls.get(row["feature_index"], [])),
            median=median(row["label_score"] for row in group),
            above_nulls=_above_nulls(group),
            bins=tuple(_bins(group, alive)),
        )
        for key, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def median(values: Iterable[float]) -> Figure:
    """The median with the 95% interval of order statistics, which assumes nothing of how values are spread; it needs six of them."""
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        return Figure(None, reason="no scores")
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    reach = int(binom.ppf(0.025, n, 0.5))
    if reach < 1:
        return Figure(middle, n=n)
    return Figure(middle, ordered[reach - 1], ordered[n - reach], n)


def _above_nulls(group: Sequence[Row]) -> Figure:
    lows = [row["lift_null_low"] for row in group if row["lift_null_low"] is not None]
    share = wilson(sum(low > 0 for low in lows), len(lows))
    return Figure(share.value, share.low, share.high, len(lows), reason="no label of another feature was scored")


def _bins(group: Sequence[Row], alive: Sequence[Row]) -> list[RateBin]:
    by_decade = Counter(_decade(row) for row in alive)
    scored: dict[int, list[float]] = defaultdict(list)
    for row in group:
        scored[_decade(row)].append(row["label_score"])
    decades = sorted(by_decade.keys() | scored.keys(), reverse=True)
    return [RateBin(10.0**d, 10.0 ** (d + 1), by_decade[d], len(scored[d]), median(scored[d])) for d in decades]


def _decade(row: Row) -> int:
    return min(-1, math.floor(math.log10(row["firing_rate"]))) if row["firing_rate"] > 0 else -9


def _newest_of_each(judges: Sequence[Row]) -> list[Row]:
    newest: dict[tuple[str, str, str], Row] = {}
    for row in judges:
        newest.setdefault((row["scorer"], row["judge"], row["answer_mode"]), row)
    return sorted(newest.values(), key=lambda row: (row["scorer"], row["judge"], row["answer_mode"]))
