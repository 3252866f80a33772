"""Corpus text and labels as people see them.

The invariant is that text is data: whatever it holds, it cannot end a line, steer a terminal, turn its surroundings around, or act as markup,
and a character that would not show is shown by name. Unlike `rendering.escape`, this is for eyes only and need not be reversible.
"""

import re
import unicodedata

from markupsafe import Markup, escape

_SHORT = {"\n": "↵", "\t": "⇥", "\r": "␍"}
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories without a glyph of their own: controls, format (bidirectional, zero-width), surrogates, line and paragraph separators."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|~&$:@])")


def is_invisible(character: str) -> bool:
    """Whether the character acts or hides instead of showing."""
    return unicodedata.category(character) in _INVISIBLE


def visible(text: str) -> str:
    """`text` on one line with every invisible character shown by a sign or its code."""
    return "".join(_shown(character) if is_invisible(character) else character for character in text)


def visible_html(text: object) -> Markup:
    """The same as inert markup, with the signs set apart from text that merely looks like them."""
    pieces: list[str] = []
    for character in str(text):
        if is_invisible(character):
            pieces.append(f'<span class="sign">{_shown(character)}</span>')
        else:
            pieces.append(str(escape(character)))
    return Markup("".join(pieces))


def visible_markdown(text: str) -> str:
    """The same for a cell of a Markdown table: nothing in it formats, links or ends the cell."""
    return _MARKDOWN.sub(r"\\\1", visible(text))


def _shown(character: str) -> str:
    return _SHORT.get(character) or f"\\u{{{ord(character):04X}}}"
