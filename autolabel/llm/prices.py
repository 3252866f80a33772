"""What a model's tokens cost.

The invariant is that a price is written down or unknown, never guessed: a model that no entry names has none, and neither has a server
on this machine until the user says 0.
"""

import re
import tomllib
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from autolabel.config import Section, validated
from autolabel.errors import ConfigError
from autolabel.resources import resource_dir

FILE = "prices.toml"
MILLION = 1_000_000
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")
Usd = Annotated[float, Field(ge=0)]


class Price(Section):
    """An entry of a price file: US dollars per million tokens of the models that it names."""

    model: str
    """Name of the model, `*` and `?` allowed; a dated name such as gpt-4.1-2025-04-14 belongs to gpt-4.1."""
    endpoint: str = ""
    """Address, or its beginning up to a slash; any endpoint when absent."""
    input_usd: Usd
    cached_input_usd: Usd | None = None
    """Input that the endpoint served from its prompt cache; as dear as other input when absent."""
    output_usd: Usd
    batch_factor: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the price that is paid through the Batch API."""
    as_of: date | None = None
    """When the source said so."""
    source: str | None = None

    def usd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int, batch: bool = False) -> float:
        """Cost of a request; the cached tokens are part of the prompt's, thoughts part of the completion's."""
        cached_usd = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        cost = (prompt_tokens - cached_tokens) * self.input_usd + cached_tokens * cached_usd + completion_tokens * self.output_usd
        return cost / MILLION * (self.batch_factor if batch else 1.0)

    def worst_usd(self, prompt_tokens: int, max_completion_tokens: int, batch: bool = False) -> float:
        """Cost when nothing is cached (or all, where that is dearer) and the reply is as long as allowed."""
        return max(self.usd(prompt_tokens, cached, max_completion_tokens, batch) for cached in (0, prompt_tokens))


class _PriceFile(Section):
    price: list[Price]


class Prices:
    """The shipped prices and the user's own, which win."""

    def __init__(self, shipped: list[Price], own: list[Price]) -> None:
        self._lists = (own, shipped)

    @classmethod
    def load(cls, extra: Path | None = None) -> "Prices":
        """Read the shipped file, and the user's when there is one.

        Raises:
            ConfigError: the user's file is missing, is no TOML, or holds an unknown key or a value out of range.
        """
        return cls(_read(resource_dir("data") / FILE), [] if extra is None else _read(extra))

    def price_of(self, endpoint_id: str, model: str) -> Price | None:
        """The price of a model at an endpoint, or None where it is not known; the entry that names both most closely counts."""
        for prices in self._lists:
            fitting = [price for price in prices if _names(price, endpoint_id, model)]
            if fitting:
                return max(fitting, key=lambda price: (len(price.model.rstrip("*")), len(price.endpoint)))
        return None


def _names(price: Price, endpoint_id: str, model: str) -> bool:
    beginning = price.endpoint.rstrip("/")
    at_home = not beginning or f"{endpoint_id.rstrip('/')}/".startswith(f"{beginning}/")
    return at_home and any(fnmatchcase(name, price.model) for name in (model, _DATE.sub("", model)))


def _read(path: Path) -> list[Price]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no price file '{path}'; write one with [[price]] entries, or leave out budget.prices"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not a TOML file: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read price file '{path}': {error.strerror}") from None
    return validated(content, _PriceFile, str(path)).price
