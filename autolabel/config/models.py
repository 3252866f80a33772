"""The models that propose and judge labels, and what may be spent on them."""

from typing import Annotated

from pydantic import Field

from autolabel.config.section import Section


class LlmSettings(Section):
    """An LLM behind any OpenAI-compatible API, and how hard it may be asked."""

    base_url: str | Annotated[list[str], Field(min_length=1)] = "https://api.openai.com/v1"
    """Its address; several addresses are a pool of servers with the same model, balanced by load."""
    name: str | None = None
    """What the endpoint is called in stored rows; the first address when absent. Answers are shared by what has the same name and model."""
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is stored nowhere."""
    max_concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests in flight at once, at each address, at most; fewer while the endpoint is unhappy."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """At each address; the endpoint's own limits, where it states them, are kept in any case."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Input and output together, at each address."""
    timeout_s: Annotated[float, Field(gt=0)] = 120
    """Longest time from sending a request to its whole reply."""
    patience_s: Annotated[float, Field(ge=0)] = 60
    """When no address has answered anything for so long, the run stops; the same command goes on later."""
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    """Room for the tokens a reasoning model thinks with before it answers, added to the limit of every reply."""
    tokenizer: str | None = None
    """Folder or hub name of the model's tokenizer, to count tokens exactly; when absent the server is asked, else bytes are counted."""
    batch: bool = False
    """Send requests through the Batch API: half the price, answers within a day."""
    keep_requests: bool = False
    """Keep the body of every request in the database, not only its hash."""
    label_temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    tiles_per_prompt: Annotated[int, Field(ge=1, le=30)] = 10
    """Tiles judged in one prompt. Models of a few billion parameters judge well only one at a time: set 1 for them."""

    @property
    def base_urls(self) -> list[str]:
        """The addresses."""
        return [self.base_url] if isinstance(self.base_url, str) else self.base_url


OPERATIONAL = {"base_url", "max_concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "patience_s"} | {
    "api_key_env",
    "tokenizer",
    "batch",
    "keep_requests",
}
"""Settings of an LLM that say how it is asked, not what."""


class BudgetSettings(Section):
    """What a job may spend on LLM calls: all runs of the same settings on one database together, so that a resumed run spends the rest."""

    max_usd: Annotated[float, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    """Input and output together."""
    max_calls: Annotated[int, Field(ge=0)] | None = None
    """Requests sent, those that failed included; not those that the endpoint turned away (HTTP 4xx)."""
    ask_above_usd: Annotated[float, Field(ge=0)] = 1.0
    """`run` asks before it spends more than this."""
    ask_above_tokens: Annotated[int, Field(ge=0)] = 1_000_000
    """The same where the price is unknown; servers on this machine are never asked about."""
    prices: str | None = None
    """TOML file with prices that win over the shipped ones."""


class LocalSettings(Section):
    """Models run in this process."""

    likelihood_model: str | None = None
    """Causal language model that proposes by completion and scores by likelihood; none when absent."""
    embedding_model: str | None = None
    """Sentence-embedding model for the embedding scorer; none when absent."""
