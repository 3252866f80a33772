"""Values out of an SAE's own settings file, each checked for its type and named in the error."""

import math
from pathlib import Path
from typing import Any

from autolabel.errors import DataError


class Fields:
    """The settings in one JSON file. A `None` in the file counts as absent; names with dots reach into nested objects."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self.content = content

    def get(self, name: str) -> Any:
        """The value of `name`, or None."""
        value: Any = self.content
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string.

        Raises:
            DataError: it is something else.
        """
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 500:
            raise self.wrong(name, "a short text")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false.

        Raises:
            DataError: it is something else.
        """
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def optional_flag(self, name: str) -> bool | None:
        """True, false, or None when absent."""
        return None if self.get(name) is None else self.flag(name)

    def number(self, name: str) -> float | None:
        """A finite number, or None when absent.

        Raises:
            DataError: it is something else.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not math.isfinite(value):
            raise self.wrong(name, "a number")
        return float(value)

    def positive(self, name: str) -> float:
        """A number greater than 0.

        Raises:
            DataError: it is absent or something else.
        """
        value = self.number(name)
        if value is None or value <= 0:
            raise self.wrong(name, "a number greater than 0")
        return value

    def k(self, name: str, d_sae: int) -> int:
        """The number of active features per token.

        Raises:
            DataError: it is absent or not between 1 and `d_sae`.
        """
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= d_sae:
            raise self.wrong(name, f"a whole number between 1 and d_sae = {d_sae}")
        return value

    def agree(self, name: str, found: int) -> None:
        """Refuse a stated size that is not the size of the tensors; an absent one is fine.

        Raises:
            DataError: the two differ.
        """
        value = self.get(name)
        if value is not None and value != found:
            raise self.wrong(name, f"{found}, the size of its tensors")

    def wrong(self, name: str, expected: str) -> DataError:
        """The error for a value that cannot be used."""
        return DataError(f"'{self.path}': {name} is {repr(self.get(name))[:80]}, expected {expected}")
