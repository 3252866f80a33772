"""The one tree of errors that autolabel raises on purpose.

    AutolabelError
    ├── ConfigError            settings, command-line values, a feature selection
    ├── DataError              a corpus, an SAE file or a model that cannot be used as given
    │   └── GateRefused        loaded, but its numbers on real tokens are nonsense
    ├── PromptError            a prompt file: missing, edited after release, a variable not supplied
    ├── EndpointError          the LLM endpoint as a whole: unreachable, wrong key, unknown model
    ├── ModelResponseError     one reply: refused, truncated, unparsable
    ├── BudgetExceeded         the next call would cross a limit that was set
    └── StoreError             the database
        ├── StoreLocked        somebody else holds it
        └── SchemaTooNew       written by a later version

Each is an expected failure: the command line prints its message and exits 1, without a traceback. A message says what, which
value, what was expected and what to do next. A single failing item is not an exception but a row with a status.
"""

from typing import Literal


class AutolabelError(Exception):
    """The base of every expected failure."""


class ConfigError(AutolabelError):
    """A setting, a command-line value or a feature selection that cannot be used."""


class DataError(AutolabelError):
    """A corpus, an SAE file or a model that cannot be used as given."""


class GateRefused(DataError):
    """The SAE loaded, but what it computes on real tokens is nonsense."""


class NothingToAdd(DataError):
    """An evidence set holds all of the text already that is to be added to it."""


class PromptError(AutolabelError):
    """A prompt file is missing, malformed, edited after its release, or lacks a variable."""


class EndpointError(AutolabelError):
    """The LLM endpoint cannot be used at all; every further call would fail the same way."""


class ModelResponseError(AutolabelError):
    """One reply that cannot be used; becomes a row with this status, never a label or a zero."""

    def __init__(self, status: Literal["refused", "truncated", "unparsable", "failed"], message: str) -> None:
        super().__init__(message)
        self.status: Literal["refused", "truncated", "unparsable", "failed"] = status


class BudgetExceeded(AutolabelError):
    """The next call could cross a limit that was set."""


class StoreError(AutolabelError):
    """The database file cannot be used."""


class StoreLocked(StoreError):
    """Another process holds the database file."""


class SchemaTooNew(StoreError):
    """The database was written by a later version of autolabel."""
