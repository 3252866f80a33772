"""How numbers are written for people: few digits, the interval beside the value, and a dash, never a zero, where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NONE = "–"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its 95% interval and what it rests on, or None and the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    n_failed: int = 0
    reason: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any] | None, reason: str) -> "Figure":
        """A stored score; `reason` says why there is none when the row or its reason is missing."""
        if row is None:
            return cls(None, reason=reason)
        return cls(row["value"], row["low"], row["high"], row["n"], row["n_failed"], row["reason"] or reason)

    @property
    def text(self) -> str:
        """`0.83 [0.71, 0.90]`, or a dash."""
        return interval(self.value, self.low, self.high)

    @property
    def basis(self) -> str:
        """What the number rests on, or why there is none."""
        if self.value is None:
            return f"not scored: {self.reason}" if self.reason else "not scored"
        failed = f", {self.n_failed} unanswered" if self.n_failed else ""
        return "" if self.n is None else f"n = {self.n:,}{failed}"


def decimal(value: float | None) -> str:
    """A score, to two decimals; a typographic minus, no negative zero."""
    if value is None:
        return NONE
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval, where it has one."""
    if value is None or low is None or high is None:
        return decimal(value)
    return f"{decimal(value)} [{decimal(low)}, {decimal(high)}]"


def significant(value: float | None, digits: int = 3) -> str:
    """A quantity to a few significant digits."""
    if value is None:
        return NONE
    if value != 0 and not 1e-6 <= abs(value) < 1e9:
        return f"{value:.{digits}g}"
    text = f"{float(f'{value:.{digits}g}'):,.10f}"
    return text.rstrip("0").rstrip(".")


def percent(share: float | None) -> str:
    """A share as a percentage to three significant digits."""
    return NONE if share is None else f"{significant(100 * share)}%"


def money(usd: float | None) -> str:
    """A cost; unknown is a word, because a dash reads as nothing."""
    return "price unknown" if usd is None else f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${significant(usd, 2)}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 feature`, `12 features`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
