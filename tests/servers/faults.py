"""What goes wrong on purpose, drawn from hashes so that every run meets the same trouble.

Transport faults depend on the request and on how often it was seen, so that sending it again may help. Content faults depend on the
request alone, so that the same request gets the same content on any run.
"""

import hashlib
from dataclasses import dataclass

TRANSPORT = ("429", "429_retry_after", "500", "hang", "reset", "malformed", "empty")
CONTENT = ("wrong_count", "refusal", "truncation", "non_json")
STICKY = "sticky_500"
REFUSED = "refuse_param"


def draw(seed: int, *about: object) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(repr((seed, *about)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class Faults:
    """The shares of requests that meet each fault, and the parameters that are refused."""

    seed: int
    shares: dict[str, float]
    refused_parameters: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str, seed: int) -> "Faults":
        """Read `429=0.05,hang=0.01,refuse_param=logprobs+seed`.

        Raises:
            ValueError: a name is unknown, or shares of one kind add up to more than 1.
        """
        shares: dict[str, float] = {}
        refused: tuple[str, ...] = ()
        for part in filter(None, spec.split(",")):
            name, _, value = part.strip().partition("=")
            if name == REFUSED:
                refused = tuple(value.split("+"))
            elif name in (*TRANSPORT, *CONTENT, STICKY):
                shares[name] = float(value)
            else:
                raise ValueError(f"unknown fault '{name}'; expected one of {', '.join((*TRANSPORT, *CONTENT, STICKY, REFUSED))}")
        for kind in (TRANSPORT, CONTENT):
            total = sum(shares.get(name, 0) for name in kind)
            if total > 1:
                raise ValueError(f"the shares of {', '.join(kind)} add up to {total:g}; expected at most 1")
        return cls(seed, shares, refused)

    def transport(self, body_hash: str, seen: int) -> str | None:
        """What happens to a request that was seen so often before."""
        return self.sticky(body_hash) or self._one_of(TRANSPORT, body_hash, seen)

    def sticky(self, body_hash: str) -> str | None:
        """`sticky_500` for a request that fails however often it is sent."""
        return self._one_of((STICKY,), body_hash)

    def content(self, body_hash: str) -> str | None:
        """What is wrong with every reply to a request."""
        return self._one_of(CONTENT, body_hash)

    def _one_of(self, names: tuple[str, ...], *about: object) -> str | None:
        shares = [(name, self.shares[name]) for name in names if name in self.shares]
        if not shares:
            return None
        left = draw(self.seed, names, *about)
        for name, share in shares:
            left -= share
            if left < 0:
                return name
        return None
