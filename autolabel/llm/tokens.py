"""How many tokens a request has, as far as that can be known before it is sent.

Two numbers that are never taken for each other: `input_bound` is never exceeded and is what a budget reserves; the rest are estimates,
each with an error that covers what was measured: eleven tokenizers (of SmolLM2, GPT-4, GPT-4.1, gpt-oss, Llama 3 and 4, Qwen 2.5 and
3.6, DeepSeek, and Mistral's two) with their chat templates, over the shipped prompts filled with English text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

from autolabel.hashing import canonical_json
from autolabel.records import Message

MESSAGE_ALLOWANCE, REQUEST_ALLOWANCE = 10, 100
"""What a chat template adds at most: role and end marks of each message (8 seen), a default system text and a date (75 seen)."""
TOKENS_PER_BYTE, TOKENS_PER_MESSAGE = 0.26, 4
"""Of a model of which nothing is known."""
DEFAULT_ERROR = 0.25
"""Largest relative error of these on any prompt and tokenizer: .23, and .247 when they are fitted without the tokenizer they meet."""
SLOPE, SLOPE_ERROR = 0.235, 0.05
"""Tokens that another byte of text adds to the same prompt: .225 to .249 were seen, between texts of quite different lengths."""


class Counter(Protocol):
    """Counts as the model will."""

    @property
    def is_exact(self) -> bool:
        """Whether the chat template is counted as it is, not by an allowance."""

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the request."""


def input_bytes(messages: Sequence[Message]) -> int:
    """Length of the messages' contents in UTF-8."""
    return sum(len(message.content.encode()) for message in messages)


def input_bound(messages: Sequence[Message], json_schema: Mapping[str, Any] | None = None) -> int:
    """Tokens that a request has at most, its schema included, which some endpoints show to the model.

    Holds for every tokenizer that covers bytes and does not lengthen text first: none of its tokens is shorter than a byte. The rest is
    the allowance for the chat template.
    """
    schema = 0 if json_schema is None else len(canonical_json(json_schema).encode())
    return input_bytes(messages) + schema + MESSAGE_ALLOWANCE * len(messages) + REQUEST_ALLOWANCE


def default_tokens(messages: Sequence[Message]) -> float:
    """Tokens of a request to a model of which nothing is known, right within `DEFAULT_ERROR` for English text."""
    return TOKENS_PER_BYTE * input_bytes(messages) + TOKENS_PER_MESSAGE * len(messages)


@dataclass(frozen=True, slots=True)
class Fit:
    """Tokens of requests made from one prompt, by their length: the mean of those counted, and `SLOPE` for each byte more or less."""

    mean_bytes: float
    mean_tokens: float
    standard_error: float
    """Of `mean_tokens`."""
    n: int
    """Requests counted."""

    def tokens(self, length: float) -> float:
        """Tokens of a request of so many bytes, or of the average one of several."""
        return max(0.0, self.mean_tokens + SLOPE * (length - self.mean_bytes))

    def error(self, length: float) -> float:
        """Half the width of the 95% interval of `tokens` for the mean of many requests, in tokens."""
        return 2 * self.standard_error + SLOPE_ERROR * abs(length - self.mean_bytes)


def fit(counted: Sequence[tuple[int, int]]) -> Fit:
    """What `counted` requests made from one prompt (bytes, tokens) say of others made from it.

    Raises:
        ValueError: nothing was counted.
    """
    n = len(counted)
    if n == 0:
        raise ValueError("no request was counted")
    mean_bytes = sum(length for length, _ in counted) / n
    mean_tokens = sum(tokens for _, tokens in counted) / n
    squares = sum((tokens - mean_tokens - SLOPE * (length - mean_bytes)) ** 2 for length, tokens in counted)
    # A single request says nothing of how much others differ; a twentieth is more than was seen of any prompt.
    deviation = sqrt(squares / (n - 1)) if n > 1 else mean_tokens / 20
    return Fit(mean_bytes, mean_tokens, deviation / sqrt(n), n)
