"""A choice among numbered options."""

import re

from autolabel.errors import ModelResponseError
from autolabel.parsing.dress import plain, refuse_refusal

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def parse_choice(text: str, n: int) -> int:
    """The option chosen among `n` numbered from 0, at most ten: the first number of a reply.

    Raises:
        ModelResponseError: `refused` for an apology; `unparsable` for no number, or one that is no option.
    """
    bare = plain(text)
    refuse_refusal(bare)
    number = _NUMBER.search(text)
    if number is None:
        raise ModelResponseError("unparsable", f"the reply holds no number from 0 to {n - 1}: {text[:80]!r}")
    if number[0] not in map(str, range(n)):
        raise ModelResponseError("unparsable", f"the reply chooses {number[0][:20]} where a number from 0 to {n - 1} was asked")
    return int(number[0])
