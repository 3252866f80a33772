"""Python source as text: what its documentation strings say, and what is left of it without them.

The invariant is that source is parsed and never imported or run.
"""

import ast
import warnings
from collections.abc import Iterator

from autolabel.errors import DataError

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documentation(source: bytes, name: str) -> str:
    """The docstrings of a module, its classes and its functions, in the order of the source and joined by blank lines.

    Each is dedented; "" for a module without any.

    Raises:
        DataError: `name` is no Python source in UTF-8.
    """
    tree = _parsed(source, name)[1]
    return "\n\n".join(text for node in _documented(tree) if (text := ast.get_docstring(node)))


def without_docstrings(source: bytes, name: str) -> str:
    """The source with its docstrings taken out, comments and all else as written; a body of nothing else becomes `pass`.

    Raises:
        DataError: `name` is no Python source in UTF-8.
    """
    text, tree = _parsed(source, name)
    lines = text.encode().splitlines(keepends=True)
    for node in reversed(list(_documented(tree))):
        if ast.get_docstring(node, clean=False) is not None:
            _cut(lines, node.body[0], keep_body=len(node.body) == 1 and not isinstance(node, ast.Module))
    return b"".join(lines).decode().lstrip("\n")


def _parsed(source: bytes, name: str) -> tuple[str, ast.Module]:
    try:
        text = source.decode("utf-8-sig").replace("\r\n", "\n")
        with warnings.catch_warnings(action="ignore"):
            return text, ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{name} cannot be parsed as Python source in UTF-8: {error}") from None


def _documented(tree: ast.Module) -> Iterator[_Documented]:
    """What may carry a docstring, in the order of the source."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, _Documented)]
    yield from sorted(nodes, key=lambda node: 0 if isinstance(node, ast.Module) else node.lineno)


def _cut(lines: list[bytes], statement: ast.stmt, keep_body: bool) -> None:
    """Take a statement out of `lines`, whole lines where it stands alone on them; columns count bytes, as `ast` does."""
    first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
    before, after = lines[first][: statement.col_offset], lines[last][statement.end_col_offset :]
    after = after.lstrip(b" \t;") if not keep_body else after
    rest = before + (b"pass" if keep_body else b"") + after
    lines[first : last + 1] = [rest] if rest.strip() else []
