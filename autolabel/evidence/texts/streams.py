"""Bytes of a file, decompressed on the way; the invariant: never more than one record of a file is in memory."""

import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count

import pyarrow as pa

from autolabel.errors import DataError
from autolabel.evidence.texts.addresses import client_errors, shown
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, Origin, TextFile

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Suffix → the codec that pyarrow knows it by. Several members or frames one after the other are one file."""
_BUFFER_BYTES = 256 * 1024


def compression(name: str) -> str | None:
    """The codec of a file by its name; `None` for a plain one."""
    return next((codec for suffix, codec in COMPRESSIONS.items() if name.lower().endswith(suffix)), None)


def without_compression(name: str) -> str:
    """`a.jsonl` for `a.jsonl.gz`, in lower case."""
    lower = name.lower()
    return next((lower.removesuffix(suffix) for suffix in COMPRESSIONS if lower.endswith(suffix)), lower)


@contextmanager
def opened(file: TextFile) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file as a stream, decompressed where its name says so.

    Raises:
        DataError: the file cannot be opened or read, is cut off, or is not compressed as its name says.
    """
    codec = compression(file.name)
    try:
        with file.open() as raw:
            if codec is None:
                yield raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, _BUFFER_BYTES)  # type: ignore[type-var]
                return
            with io.BufferedReader(pa.CompressedInputStream(raw, codec), _BUFFER_BYTES) as stream:
                yield stream
    except client_errors(OSError, ValueError) as error:
        if codec is not None and is_arrows(error):
            raise DataError(f"'{file.path}' is truncated or no {codec} file ({error}); fetch it again") from None
        raise unreadable(file, error) from None


def numbered_lines(file: TextFile) -> Generator[tuple[int, bytes], None, None]:
    """The lines of a file with their numbers from 1 and their line ends.

    Raises:
        DataError: the file cannot be read, or a line is too long; that line is not read to its end.
    """
    with opened(file) as stream:
        for number in count(1):
            line = stream.readline(MAX_RECORD_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_RECORD_BYTES:
                raise too_long(file, f"line {number}")
            yield number, line


def is_arrows(error: Exception) -> bool:
    """Whether Arrow found fault with the content, rather than a file system or a server with the reading."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


def unreadable(file: Origin, error: Exception) -> DataError:
    """What to say where a file system or a server gives no bytes; a server that gives no pieces of a file raises `ValueError`."""
    why = getattr(error, "strerror", None) or " ".join(shown(str(error)).split()).split(". ")[0] or type(error).__name__
    advice = "; download the file and give the path of the copy" if isinstance(error, ValueError) else ""
    return DataError(f"cannot read '{file.path}': {why}{advice}")


def too_long(origin: Origin, place: str = "", n_before: int = 0) -> DataError:
    """What to say of a record, or of a whole text file, above the limit; `n_before` documents of a dataset come before it."""
    if isinstance(origin, TextFile):
        advice = "cut it into documents, one per line of a .jsonl file, or leave it out"
    else:
        advice = "download the files of the dataset, take it out and give their path"
        advice += f", or set max_documents = {n_before} to read what comes before it" if n_before else ""
    what = f"'{origin.path}' {place}".rstrip()
    return DataError(f"{what} is longer than {MAX_RECORD_BYTES // 1024**2} MiB, the most that is read as one document; {advice}")
