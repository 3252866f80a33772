"""Reading settings from a TOML file. Unknown keys are refused by name, and every problem is said in one line."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autolabel.config.section import Section
from autolabel.errors import ConfigError

SectionT = TypeVar("SectionT", bound=Section)


def read_settings(path: Path, kind: type[SectionT], overrides: dict[str, Any] | None = None) -> SectionT:
    """Read a settings file; `overrides` maps dotted keys to values that win over the file's.

    Raises:
        ConfigError: the file is missing, is no TOML, or holds an unknown key or a value out of range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no settings file '{path}'; `autolabel init {path}` writes one to start from") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not a TOML file: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read settings file '{path}': {error.strerror}") from None
    for dotted, value in (overrides or {}).items():
        *tables, key = dotted.split(".")
        table = content
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"'{path}': {name} = {table!r} must be a table for '{dotted}' to be set in it")
        table[key] = value
    return validated(content, kind, str(path))


def validated(content: dict[str, Any], kind: type[SectionT], source: str) -> SectionT:
    """Check settings and say in one line each what is wrong with them."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [_problem(kind, item["loc"], item["type"], item["msg"], item["input"]) for item in error.errors()]
        raise ConfigError(f"'{source}': " + "; ".join(problems)) from None


def _problem(kind: type[BaseModel], where: tuple[int | str, ...], what: str, message: str, value: object) -> str:
    name = ".".join(str(part) for part in where)
    if what == "extra_forbidden":
        return f"unknown key '{name}' (known here: {', '.join(_known_keys(kind, where[:-1]))})"
    if what == "missing":
        return f"key '{name}' is missing"
    if what == "value_error":
        return f"[{name}] {message.removeprefix('Value error, ')}" if name else message.removeprefix("Value error, ")
    return f"{name} = {value!r}: {message[:1].lower()}{message[1:]}"


def _known_keys(kind: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    fields = kind.model_fields
    for part in where:
        if isinstance(part, int):
            continue
        annotation = fields[part].annotation
        nested = next((a for a in (annotation, *_arguments(annotation)) if _is_section(a)), None)
        if nested is None:
            return []
        fields = nested.model_fields
    return list(fields)


def _arguments(annotation: Any) -> list[Any]:
    arguments = list(getattr(annotation, "__args__", ()))
    return arguments + [inner for argument in arguments for inner in _arguments(argument)]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
