"""Keys appear nowhere but in the requests they are for."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel import secrets
from autolabel.errors import ConfigError
from autolabel.secrets import BLOT, SHORTEST, BlottingFormatter, api_key, blotted, remember

KEY = "sk-planted-0123456789"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", set())


def test_a_remembered_key_is_blotted_wherever_it_stands() -> None:
    assert blotted(f"key {KEY}") == f"key {KEY}"
    remember(KEY)
    assert blotted(f"{KEY}, again {KEY}{KEY}!") == f"{BLOT}, again {BLOT}{BLOT}!"
    assert blotted("nothing here") == "nothing here"


@pytest.mark.parametrize("word", ["", "none", "x" * (SHORTEST - 1)])
def test_short_words_are_no_keys(word: str) -> None:
    remember(word)
    assert blotted(f"there is none {word}") == f"there is none {word}"


def test_a_key_that_begins_another_leaves_no_rest_of_it() -> None:
    for key in (KEY, KEY + "-and-more", "and-more-of-it"):
        remember(key)
    assert blotted(f"{KEY}-and-more {KEY} x") == f"{BLOT} {BLOT} x"


@given(st.text(), st.text(min_size=SHORTEST).filter(lambda key: not set(key) & set(BLOT)), st.text())
def test_no_text_keeps_a_key(before: str, key: str, after: str) -> None:
    secrets._known.clear()
    remember(key)
    assert key not in blotted(before + key + after)


@pytest.mark.parametrize("value", [KEY, f" {KEY}\n", f"{KEY}\r\n"])
def test_a_key_is_read_without_what_a_shell_left_around_it_and_blotted_from_then_on(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    assert api_key("MY_KEY") == KEY
    assert blotted(KEY) == BLOT


def test_no_key_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    assert api_key("MY_KEY") == "none"
    monkeypatch.setenv("MY_KEY", " ")
    assert api_key("MY_KEY") == "none"


@pytest.mark.parametrize("value", ["sk-planted\u20190123456789", "sk-planted\n0123456789", "sk-planted\x1b0123456789"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError) as caught:
        api_key("MY_KEY")
    assert str(caught.value) == "the environment variable MY_KEY holds characters that no API key has; set it anew"


def test_log_lines_and_tracebacks_are_blotted() -> None:
    remember(KEY)
    formatter = BlottingFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError(f"no access with {KEY}")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, __file__, 1, "sent %s", (f"Bearer {KEY}",), sys.exc_info())
    line = formatter.format(record)
    assert KEY not in line
    assert line.startswith(f"ERROR sent Bearer {BLOT}\nTraceback")
    assert line.endswith(f"ValueError: no access with {BLOT}")
