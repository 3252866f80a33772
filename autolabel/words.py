"""The words of a window, so that what finds words (a labeler) and what looks for them (a rule) agree on what a word is.

The invariant: every token belongs to one word, the one it starts in, so a piece of a longer word is never taken for a word of its own.
"""

import re

from autolabel.records import Example

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def is_word(text: str) -> bool:
    """Whether `text` is one word and nothing else."""
    return _WORD.fullmatch(text) is not None


def words_of(example: Example) -> tuple[str, ...]:
    """For each token of the window, left context included: its word in lower case, or the token itself where it starts in none."""
    owner = [""] * len(example.text)
    for match in _WORD.finditer(example.text):
        owner[match.start() : match.end()] = [match.group().casefold()] * len(match.group())
    return tuple(_word_at(owner, start, token) for start, token in zip(example.token_starts, example.tokens, strict=True))


def _word_at(owner: list[str], start: int, token: str) -> str:
    bare = token.lstrip()
    word = owner[start + len(token) - len(bare)] if bare else ""
    return word or token.strip() or token
