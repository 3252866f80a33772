"""Which files a path means: on this machine, in a fetched part, or behind any address that fsspec opens.

The invariant: the names and the order of a source's files do not depend on where it lies or what a file system lists first.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

import fsspec

from autolabel.errors import DataError
from autolabel.evidence.texts.records import TextFile, cleaned
from autolabel.parts import locate

_MAGIC = re.compile(r"[*?\[]")


def find_files(path: str) -> list[TextFile]:
    """The files that `path` names, in the order of their names within it; hidden ones are left out.

    A folder stands for all files in it and below, a pattern for the files that match it (`**` for folders at any depth).
    Links to files are followed, links to folders found on the way are not.

    Raises:
        DataError: there is none, or the place cannot be read.
    """
    plain = path.removeprefix("file://")
    found = _remote(plain) if "://" in plain else _local(plain)
    if not found:
        raise DataError(f"no text at '{shown(path)}'; expected a file, a folder with files, or a glob that matches some")
    return sorted(found, key=lambda file: file.name)


def shown(path: str) -> str:
    """An address without the password it may hold."""
    return re.sub(r"://[^/@]*@", "://…@", path)


def _local(path: str) -> list[TextFile]:
    if "\0" in path:
        return []
    try:
        located = Path(locate(path)).expanduser()
        if located.is_file():
            return [_local_file(located.parent, located)]
        if located.is_dir():
            return [_local_file(located, found) for found in _below(located)]
        base, pattern = _base_and_pattern(located)
        matches = {found for found in base.glob(pattern) if found.is_file()} if pattern else set()
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"'{path}' cannot be read as a path: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read '{error.filename or path}': {error.strerror}") from None
    return [_local_file(base, found) for found in matches if not _is_hidden(found.relative_to(base).parts)]


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return [path for path in found if path.is_file()]


def _local_file(base: Path, path: Path) -> TextFile:
    return TextFile(cleaned(path.relative_to(base).as_posix()), cleaned(str(path)), lambda: path.open("rb"))


def _base_and_pattern(path: PurePath) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest; an empty rest when there is none."""
    first = next((i for i, part in enumerate(path.parts) if _MAGIC.search(part)), len(path.parts))
    return Path(*path.parts[:first]), "/".join(path.parts[first:])


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _remote(path: str) -> list[TextFile]:
    try:
        system, root = fsspec.core.url_to_fs(path)
        root = root.rstrip("/")
        if system.isfile(root):
            base, names = root.rpartition("/")[0], [root]
        elif system.isdir(root):
            base, names = root, system.find(root)
        else:
            parts = root.split("/")
            first = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
            matches = system.glob(root, detail=True) if first < len(parts) else {}
            base, names = "/".join(parts[:first]), [name for name, about in matches.items() if about["type"] == "file"]
    except ImportError as error:
        raise DataError(f"'{shown(path)}' needs a package that is not installed: {error}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read '{shown(path)}': {shown(str(error))}") from None
    relative = {name: name.removeprefix(base).strip("/") for name in names}
    return [
        TextFile(short, shown(system.unstrip_protocol(name)), _opener(system, name))
        for name, short in relative.items()
        if not _is_hidden(short.split("/"))
    ]


def _opener(system: Any, name: str) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, system.open(name, "rb"))
