"""Which files a path means: on this machine, in a fetched part, or behind any address that fsspec opens.

The invariant: the names and the order of a source's files do not depend on where it lies or what a file system lists first.
"""

import os
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

import fsspec

from autolabel.errors import DataError
from autolabel.evidence.texts.addresses import client_errors, shown, without_query
from autolabel.evidence.texts.records import TextFile, cleaned
from autolabel.parts import locate

_MAGIC = re.compile(r"[*?\[]")
_Pattern = tuple[str, ...]
"""What the names of a path have to match, one after the other; `**` any number of them."""


def find_files(path: str) -> list[TextFile]:
    """The files that `path` names, in the order of their names within it; hidden ones are left out.

    A folder stands for all files in it and below, a pattern for the files that match it (`**` for folders at any depth).
    Links to files are followed, links to folders found on the way are not.

    Raises:
        DataError: there is none, or the place, or a folder that may hold some, cannot be read.
    """
    plain = path.removeprefix("file://")
    found = _remote(plain) if "://" in plain else _local(plain)
    if not found:
        raise DataError(f"no text at '{shown(path)}'; expected a file, a folder with files, or a glob that matches some")
    return sorted(found, key=lambda file: (file.name, file.path))


def _local(path: str) -> list[TextFile]:
    if "\0" in path:
        return []
    try:
        located = Path(locate(path)).expanduser()
        if located.is_file():
            return [_local_file(located.parent, located)]
        if located.is_dir():
            return [_local_file(located, found) for found in _below(located, ("**",))]
        base, pattern = _base_and_pattern(located)
        found = _below(base, pattern) if pattern and base.is_dir() else []
    except (ValueError, RuntimeError) as error:
        raise DataError(f"'{path}' cannot be read as a path: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read '{error.filename or path}': {error.strerror}") from None
    return [_local_file(base, one) for one in found]


def _below(folder: Path, pattern: _Pattern) -> list[Path]:
    """Files whose path below `folder` matches the pattern; folders that can hold none are not looked into."""

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    left = {folder: _reached({pattern})}
    for place, folders, files in os.walk(folder, onerror=refuse):
        parent = Path(place)
        here = left.pop(parent)
        steps = {name: _step(here, name) for name in folders if not name.startswith(".")}
        folders[:] = [name for name, step in steps.items() if step - {()}]
        left |= {parent / name: steps[name] for name in folders}
        found += [parent / name for name in files if not name.startswith(".") and () in _step(here, name)]
    return [path for path in found if path.is_file()]


def _step(patterns: set[_Pattern], name: str) -> set[_Pattern]:
    """What may follow in a path once `name` has been matched; an empty pattern where nothing has to."""
    deeper = {pattern for pattern in patterns if pattern[:1] == ("**",)}
    return _reached(deeper | {pattern[1:] for pattern in patterns if pattern and fnmatchcase(name, pattern[0])})


def _reached(patterns: set[_Pattern]) -> set[_Pattern]:
    """The patterns and what is left of each when its leading `**` stand for no folder."""
    found = set(patterns)
    for pattern in patterns:
        while pattern[:1] == ("**",):
            pattern = pattern[1:]
            found.add(pattern)
    return found


def _local_file(base: Path, path: Path) -> TextFile:
    return TextFile(cleaned(path.relative_to(base).as_posix()), cleaned(str(path)), lambda: path.open("rb"))


def _base_and_pattern(path: PurePath) -> tuple[Path, _Pattern]:
    """The folder before the first part with a wildcard, and the rest; an empty rest when there is none."""
    first = next((i for i, part in enumerate(path.parts) if _MAGIC.search(part)), len(path.parts))
    pattern = path.parts[first:]
    odd = next((part for part in pattern if "**" in part and part != "**"), None)
    if odd is not None:
        raise ValueError(f"'{odd}' holds '**', which stands for folders and for nothing but whole names")
    return Path(*path.parts[:first]), pattern


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _remote(path: str) -> list[TextFile]:
    try:
        system, root = fsspec.core.url_to_fs(path)
        base, names = _listed(system, root)
    except ImportError as error:
        raise DataError(f"'{shown(path)}' needs a package that is not installed: {error}") from None
    except client_errors(OSError, ValueError) as error:
        raise DataError(f"cannot read '{shown(path)}': {shown(str(error))}") from None
    relative = {name: without_query(name).removeprefix(base).strip("/") for name in names}
    return [
        TextFile(short, shown(system.unstrip_protocol(name)), _opener(system, name))
        for name, short in relative.items()
        if not _is_hidden(short.split("/"))
    ]


def _listed(system: Any, root: str) -> tuple[str, Iterable[str]]:
    """The folder that names are relative to, and the full names of the files in it that are meant."""
    place = without_query(root).rstrip("/")
    root = root if place != root.rstrip("/") else place
    if system.isfile(root):
        return place.rpartition("/")[0], [root]
    if system.isdir(root):
        return root, system.find(root)
    parts = place.split("/")
    first = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    matches = system.glob(root, detail=True) if first < len(parts) else {}
    return "/".join(parts[:first]), [name for name, about in matches.items() if about["type"] == "file"]


def _opener(system: Any, name: str) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, system.open(name, "rb"))
