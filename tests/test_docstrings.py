"""Python source as text: docstrings in order, and code without them that means the same."""

import ast

import pytest

from autolabel.docstrings import documentation, without_docstrings
from autolabel.errors import DataError

SOURCE = b'''"""A module.

    With a second line.
"""
import os

"""No docstring."""


class Shelf:
    """A shelf."""

    books = "none"

    def add(self, book):
        """Add \\d."""
        def inner():
            "Inside."
        return inner  # as is


async def wait():
    "Wait."; return 1


def late():
    """   """
'''


def test_docstrings_in_the_order_of_the_source() -> None:
    assert documentation(SOURCE, "m.py") == "A module.\n\nWith a second line.\n\nA shelf.\n\nAdd \\d.\n\nInside.\n\nWait."


def test_nothing_said_is_nothing() -> None:
    assert documentation(b"x = 1\n", "m.py") == ""


def test_code_without_docstrings_keeps_everything_else() -> None:
    assert (
        without_docstrings(SOURCE, "m.py")
        == '''import os

"""No docstring."""


class Shelf:

    books = "none"

    def add(self, book):
        def inner():
            pass
        return inner  # as is


async def wait():
    return 1


def late():
    pass
'''
    )


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('"""Only said."""', ""),
        ('def f(): "doc"', "def f(): pass"),
        ('def f(): "doc"; return 1', "def f(): return 1"),
        ('def f():\n    "doc"  # why\n    return 1\n', "def f():\n    # why\n    return 1\n"),
        ('def f():\n    ("é"\n     "b")\n    return "é"\n', 'def f():\n    return "é"\n'),
        ('\ufeff"""Marked."""\r\nx = 1\r\n', "x = 1\n"),
        ('x = f"{1}"\n', 'x = f"{1}"\n'),
    ],
)
def test_docstrings_in_odd_places(source: str, code: str) -> None:
    assert without_docstrings(source.encode(), "m.py") == code
    ast.parse(code)


@pytest.mark.parametrize(
    "source", [b"def f(:", b"x = '\xff'", b"x = 1\x00", b"(" * 5000], ids=["syntax", "encoding", "nul", "deep"]
)
def test_what_is_no_source_is_named(source: bytes) -> None:
    for read in (documentation, without_docstrings):
        with pytest.raises(DataError, match=r"bad\.py cannot be parsed as Python source in UTF-8: "):
            read(source, "bad.py")


def test_reading_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    source = b'"""Says."""\nprint("ran")\nraise SystemExit\n'
    assert documentation(source, "m.py") == "Says."
    assert without_docstrings(source, "m.py") == 'print("ran")\nraise SystemExit\n'
    assert capsys.readouterr().out == ""
