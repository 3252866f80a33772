"""From command-line options to settings: what is given there wins over the settings file."""

from pathlib import Path
from typing import Any

from autolabel.config import LlmSettings, Settings, read_settings
from autolabel.errors import ConfigError

BOTH_LLMS = ("batch", "keep_requests")
"""Options that hold for the LLM that proposes and for the one that judges."""
KEYS = {
    "features": "select.features",
    "where": "select.where",
    "sample": "select.sample",
    "llm_base_url": "llm.base_url",
    "llm_model": "llm.model",
    "device": "subject.device",
    "engine": "engine.kind",
    "workers": "engine.workers",
    "min_examples": "evidence.min_examples",
    "target_rare": "evidence.target_rare",
    "max_usd": "budget.max_usd",
    "max_tokens": "budget.max_tokens",
    "max_calls": "budget.max_calls",
}
"""Options whose setting has another name."""


def settings_with(config: Path, **options: Any) -> Settings:
    """The settings of a file with the options that were given; an option is None or False when it was not.

    Raises:
        ConfigError: the file or an option cannot be used.
    """
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    judge = {name: given.pop(f"judge_{name}") for name in ("base_url", "model") if f"judge_{name}" in given}
    both = {name: given.pop(name) for name in BOTH_LLMS if name in given}
    overrides = {KEYS.get(name, name): str(value) if isinstance(value, Path) else value for name, value in given.items()}
    settings = read_settings(config, Settings, overrides)
    changes: dict[str, LlmSettings | None] = {"judge": _judge(settings, judge) if judge else settings.judge, "llm": settings.llm}
    return settings.model_copy(update={name: llm and llm.model_copy(update=both) for name, llm in changes.items()})


def _judge(settings: Settings, given: dict[str, str]) -> LlmSettings:
    """The judge of the options: like the one of the file, or else like the LLM that proposes, except for what is given."""
    like = settings.judge_llm
    if like is None:
        if "model" not in given:
            raise ConfigError("--judge-base-url needs --judge-model, because the settings name no LLM")
        return LlmSettings.model_validate(given)
    name = None if "base_url" in given else like.name
    return like.model_copy(update={**given, "name": name})
