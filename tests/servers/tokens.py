"""How many tokens a text is: one for each word and one for each other visible character, so that usage, `/tokenize` and limits agree.

A chat prompt is its contents, 4 tokens more for each message and 3 for the beginning of the reply; `templated` spells exactly those out.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

Messages = Sequence[Mapping[str, str]]
MESSAGE_TOKENS = 4
REPLY_TOKENS = 3
_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])(?:\s+\Z)?")
_VOCABULARY = 50_000
_PREFIXES = 1_000_000


@lru_cache(maxsize=256)
def count(text: str) -> int:
    """Tokens in a text; remembered for the turns that all prompts share."""
    return len(_TOKEN.findall(text))


def pieces(text: str) -> list[str]:
    """The tokens with the white space around them: joined they are the text again."""
    return _PIECE.findall(text)


def token_ids(text: str) -> list[int]:
    """A number for each token, always the same one."""
    return [zlib.crc32(token.encode("utf-8", "replace")) % _VOCABULARY for token in _TOKEN.findall(text)]


def prompt_tokens(messages: Messages) -> int:
    """Tokens of a chat prompt."""
    return sum(MESSAGE_TOKENS + count(message["content"]) for message in messages) + REPLY_TOKENS


def most_tokens(body: Mapping[str, Any]) -> int | None:
    """The longest reply that a request allows; None where it sets no limit."""
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    return min(limits, default=None)


def templated(messages: Messages) -> str:
    """The prompt as one text; `count` of it is `prompt_tokens`."""
    return "".join(f"[{message['role']}] {message['content']}\n;\n" for message in messages) + "[assistant]"


class PrefixCache:
    """Remembers how prompts began, line by line, as a server's prompt cache does; forgets all when full."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def cached_tokens(self, messages: Messages) -> int:
        """Tokens of the longest beginning that an earlier prompt shared, whole lines only; this prompt is known from now on."""
        if len(self._known) > _PREFIXES:
            self._known.clear()
        prefix, tokens, cached, shared = 0, 0, 0, True
        for message in messages:
            prefix, tokens = hash((prefix, message["role"])), tokens + MESSAGE_TOKENS
            for line in message["content"].split("\n"):
                prefix, tokens = hash((prefix, line)), tokens + count(line)
                shared = shared and prefix in self._known
                cached = tokens if shared else cached
                self._known.add(prefix)
        return cached
