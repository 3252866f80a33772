"""What a run will cost, as plain numbers that say where they come from.

The invariant is that a number nobody can know is None, not 0: a price that is not written down, a time while no call was ever timed.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CostRow:
    """The calls of one stage to one model, or of all stages to all."""

    stage: str
    endpoint_id: str
    model: str
    is_own: bool
    """The endpoint is on this machine or in a private network."""
    calls: float
    """Distinct requests without an answer yet; whole when every feature was looked at."""
    calls_error: float
    """Half the width of the 95% interval of `calls`; 0 when every feature was looked at."""
    input_tokens: float
    input_error: float
    """Half the width of the interval of `input_tokens`, that of the calls included."""
    input_source: str
    output_tokens: float
    """As long as replies are expected to be."""
    output_source: str
    worst_output_tokens: float
    """When every reply is as long as allowed."""
    usd: float | None
    """Money expected, before discounts for prompts that the endpoint has cached; None where the price is unknown."""
    worst_usd: float | None
    """Money for the most input tokens and every reply as long as allowed."""
    price_source: str
    seconds: float | None
    """Time expected; None until calls to this endpoint and model were timed."""

    @property
    def tokens(self) -> float:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What remains to be done on a database."""

    rows: tuple[CostRow, ...]
    n_features: int
    n_looked_at: int
    """Features of which it is known what they need; what the others need is scaled from them."""

    @property
    def total(self) -> CostRow:
        """All rows added up; their errors too, because they are wrong together, and their times, one stage after the other."""
        rows = self.rows
        return CostRow(
            stage="all",
            endpoint_id="",
            model="",
            is_own=all(row.is_own for row in rows),
            calls=sum(row.calls for row in rows),
            calls_error=sum(row.calls_error for row in rows),
            input_tokens=sum(row.input_tokens for row in rows),
            input_error=sum(row.input_error for row in rows),
            input_source="",
            output_tokens=sum(row.output_tokens for row in rows),
            output_source="",
            worst_output_tokens=sum(row.worst_output_tokens for row in rows),
            usd=_sum(row.usd for row in rows),
            worst_usd=_sum(row.worst_usd for row in rows),
            price_source="",
            seconds=_sum(row.seconds for row in rows),
        )

    @property
    def priced_usd(self) -> float:
        """Money expected, as far as prices are known."""
        return sum(row.usd for row in self.rows if row.usd is not None)

    @property
    def unpriced_tokens(self) -> float:
        """Tokens for models whose price is unknown and which are not on a machine of one's own."""
        return sum(row.tokens for row in self.rows if row.usd is None and not row.is_own)


def _sum(amounts: Iterable[float | None]) -> float | None:
    """The sum, or None when one of them is unknown."""
    known = list(amounts)
    return None if None in known else sum(amount for amount in known if amount is not None)
