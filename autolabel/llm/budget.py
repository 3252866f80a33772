"""What may be spent on calls, and what is spent.

The invariant is that spent + reserved never exceeds a limit: the worst case of a call is reserved before it is sent, requests in flight
included, and replaced by what it did cost when its outcome is known.
"""

import asyncio
from dataclasses import dataclass

from autolabel.errors import BudgetExceeded


@dataclass(frozen=True, slots=True)
class Charge:
    """What calls cost, or may cost. `usd` is None where the price is unknown."""

    calls: int = 0
    tokens: int = 0
    """Input and output together."""
    usd: float | None = 0.0

    def __add__(self, other: "Charge") -> "Charge":
        return Charge(self.calls + other.calls, self.tokens + other.tokens, _sum(self.usd, other.usd))

    def __sub__(self, other: "Charge") -> "Charge":
        return self + Charge(-other.calls, -other.tokens, None if other.usd is None else -other.usd)


NOTHING = Charge()


class Budget:
    """Limits on calls, tokens and money that several endpoints share. Without a limit everything fits."""

    def __init__(
        self,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_usd: float | None = None,
        spent: Charge = NOTHING,
    ) -> None:
        self._limits = (
            ("--max-calls", "calls", max_calls),
            ("--max-tokens", "tokens", max_tokens),
            ("--max-usd", "usd", max_usd),
        )
        self.spent = spent
        """Settled so far, earlier runs of the job included."""
        self.reserved = NOTHING
        """The worst case of what is in flight."""
        self._settled = asyncio.Event()
        self._crossed: str | None = None

    async def reserve(self, worst: Charge) -> None:
        """Set the worst case of a call aside, waiting for calls in flight to settle if that may make room.

        Raises:
            BudgetExceeded: it does not fit and nothing is in flight; from then on for every call, so that a run ends in one place.
        """
        while self._crossed is None:
            obstacle = self._obstacle(worst)
            if obstacle is None:
                self.reserved += worst
                return
            if self.reserved.calls == 0:
                self._crossed = obstacle
                break
            self._settled.clear()
            await self._settled.wait()
        raise BudgetExceeded(self._crossed)

    def reserve_now(self, worst: Charge) -> bool:
        """Set the worst case of a call aside if it fits at once; whether it did."""
        if self._crossed is not None or self._obstacle(worst) is not None:
            return False
        self.reserved += worst
        return True

    def take_over(self, worst: Charge) -> None:
        """Set aside what an earlier run sent and nobody has settled, whether it fits or not."""
        self.reserved += worst

    def settle(self, worst: Charge, actual: Charge) -> None:
        """Replace a reservation by what the call did cost."""
        self.reserved -= worst
        self.spent += actual
        self._settled.set()

    def _obstacle(self, worst: Charge) -> str | None:
        """Why a call does not fit; None when it does."""
        together = self.spent + self.reserved + worst
        for option, unit, limit in self._limits:
            if limit is None:
                continue
            total = getattr(together, unit)
            if total is None:
                return (
                    f"{option} cannot be kept, as the price of a call is unknown; say what the model costs, or limit --max-tokens"
                )
            if total > limit:
                return (
                    f"the budget of {_shown(limit, unit)} is used up: {_shown(getattr(self.spent, unit), unit)} spent, and the next "
                    f"call may take {_shown(getattr(worst, unit), unit)}; raise {option} and give the same command to go on from here"
                )
        return None


def _sum(first: float | None, second: float | None) -> float | None:
    """The sum in whole millionths of a micro-dollar, so that adding and taking away for days leaves no crumbs."""
    return None if first is None or second is None else round(first + second, 12)


def _shown(amount: float, unit: str) -> str:
    return f"{amount:,.6f}".rstrip("0").rstrip(".") + " USD" if unit == "usd" else f"{amount:,} {unit}"
