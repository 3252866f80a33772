"""Text from the Hub, kept on this machine: a resumed run and every further reading see the same text and download nothing.

A spool is a folder that appears at once when it is whole, with the digest of its text; one that does not fit its digest is thrown away.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
from filelock import FileLock

from autolabel.errors import DataError
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, Origin, RawText, TextFile
from autolabel.evidence.texts.streams import numbered_lines, too_long
from autolabel.parts import cache_dir

_TEXTS = "texts.jsonl.zst"
_DIGEST = "sha256"


def spooled(key: str, download: Callable[[], Iterator[RawText]]) -> Path:
    """The folder of the spool called `key`; it is filled from `download` when there is none that is whole.

    Raises:
        DataError: the download fails, or the cache folder cannot be written.
    """
    folder = cache_dir() / "texts" / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                _fill(folder, download())
    except OSError as error:
        raise DataError(
            f"cannot keep the text in '{folder}': {error.strerror or error}; make room there, or set AUTOLABEL_CACHE to another folder"
        ) from None
    return folder


def spooled_texts(folder: Path) -> Iterator[RawText]:
    """The texts of a spool in the order of the download."""
    for _, line in numbered_lines(_file(folder)):
        record = json.loads(line)
        yield RawText(record["text"], record["id"])


def _file(folder: Path) -> TextFile:
    path = folder / _TEXTS
    return TextFile(_TEXTS, str(path), lambda: path.open("rb"))


def _is_whole(folder: Path) -> bool:
    try:
        about = (folder / _TEXTS).stat()
        written = (folder / _DIGEST).read_text(encoding="ascii").strip()
        return _digest_of(folder, about.st_size, about.st_mtime_ns) == written
    except (DataError, OSError, ValueError):
        return False


@lru_cache
def _digest_of(folder: Path, size: int, mtime_ns: int) -> str:
    """The digest that the text of a spool has; computed once per process for a file that does not change."""
    found = hashlib.sha256()
    for _, line in numbered_lines(_file(folder)):
        found.update(line)
    return found.hexdigest()


def _fill(folder: Path, texts: Iterator[RawText]) -> None:
    lines = hashlib.sha256()
    filling = folder.with_name(f"{folder.name}.filling")
    shutil.rmtree(filling, ignore_errors=True)
    with ExitStack() as done:
        done.callback(shutil.rmtree, filling, ignore_errors=True)
        filling.mkdir()
        with pa.CompressedOutputStream(str(filling / _TEXTS), "zstd") as out:
            for n_before, one in enumerate(texts):
                line = json.dumps({"id": one.id, "text": one.text}, ensure_ascii=False).encode() + b"\n"
                if len(line) > MAX_RECORD_BYTES:
                    raise too_long(Origin("", one.id), "as JSON", n_before)
                lines.update(line)
                out.write(line)
        (filling / _DIGEST).write_text(lines.hexdigest(), encoding="ascii")
        filling.rename(folder)
