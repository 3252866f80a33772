"""Keys that must appear nowhere but in the requests they are for.

The invariant: whoever reads a key from the environment remembers it here first, and whatever comes from outside (error texts, replies)
or goes to a log is blotted before it is kept or shown.
"""

import logging
import os

from autolabel.errors import ConfigError

SHORTEST = 8
"""Shorter values are no keys but words like `none`, and blotting them would garble texts."""
BLOT = "[key]"

_known: set[str] = set()


def api_key(variable: str) -> str:
    """The API key in an environment variable; `none` where there is none, as servers on one's own machine want no key.

    Raises:
        ConfigError: it holds what no HTTP header can hold; such a value would be shown by whatever stumbles over it.
    """
    key = os.environ.get(variable, "").strip()
    remember(key)
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has; set it anew")
    return key or "none"


def remember(secret: str) -> None:
    """Blot this value from now on."""
    if len(secret) >= SHORTEST:
        _known.add(secret)


def blotted(text: str) -> str:
    """`text` without the keys remembered."""
    for secret in sorted(_known, key=len, reverse=True):  # a key may be the beginning of another
        text = text.replace(secret, BLOT)
    return text


class BlottingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The line to log."""
        return blotted(super().format(record))
