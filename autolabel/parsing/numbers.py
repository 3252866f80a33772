"""Numbers of examples, as a reply lists them."""

import re

from autolabel.errors import ModelResponseError

_NUMBER = re.compile(r"[0-9]{1,9}")


def named_numbers(text: str, n: int) -> list[bool]:
    """Which of `n` examples a reply names, as their numbers from 1 with commas between them, or None.

    This is how SAEBench reads replies: numbers beyond `n` count for nothing.

    Raises:
        ModelResponseError: `unparsable` where anything else stands there.
    """
    bare = text.strip().rstrip(".").replace("and", ",").replace("None", "")
    pieces = [piece.strip() for piece in bare.split(",") if piece.strip()]
    if not all(_NUMBER.fullmatch(piece) for piece in pieces):
        raise ModelResponseError("unparsable", f"the reply is no list of numbers with commas between them: {text[:80]!r}")
    named = {int(piece) for piece in pieces}
    return [number in named for number in range(1, n + 1)]
