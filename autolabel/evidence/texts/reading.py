"""The texts of a source in a fixed order, and a hash of what they are.

The invariant: the same content gives the same documents, ids, order and fingerprint wherever it lies, in flat memory.
"""

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from autolabel.config import HUB_PREFIX, TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts import whole
from autolabel.evidence.texts.columns import SAMPLE_RECORDS, Columns, choose_columns, texts_of
from autolabel.evidence.texts.files import find_files
from autolabel.evidence.texts.formats import format_of
from autolabel.evidence.texts.records import Origin, RawText, Row, TextFile
from autolabel.evidence.texts.spool import digest, spooled, spooled_texts
from autolabel.hashing import canonical_json, content_id

_CHUNK_BYTES = 1024**2


def read_texts(source: TextSource, skip: int = 0) -> Iterator[RawText]:
    """The documents of a source: file after file in the order of their names, then in the order of the file.

    `skip` passes over the first documents, `max_documents` of the settings counted from the very first.

    Raises:
        DataError: the source is missing or cannot be read; the message names the file and the line or row.
    """
    texts = spooled_texts(_spool(source)) if source.is_on_the_hub else _file_texts(source)
    return islice(texts, skip, source.max_documents)


def fingerprint(source: TextSource) -> str:
    """`sha256:` and the digest of what a source holds and how it is read: equal for equal files under equal names anywhere.

    Raises:
        DataError: the source is missing or cannot be read.
    """
    how = [source.format, source.text_column, source.id_column, source.delimiter, source.max_documents]
    found = hashlib.sha256(canonical_json(how).encode())
    if source.is_on_the_hub:
        found.update(digest(_spool(source)).encode())
    else:
        for file in find_files(source.path):
            found.update(canonical_json([file.name, _file_digest(file)]).encode())
    return "sha256:" + found.hexdigest()


def _file_digest(file: TextFile) -> str:
    found = hashlib.sha256()
    try:
        with file.open() as raw:
            while chunk := raw.read(_CHUNK_BYTES):
                found.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read '{file.path}': {error.strerror or error}") from None
    return found.hexdigest()


def _file_texts(source: TextSource) -> Iterator[RawText]:
    columns: Columns | None = None
    for file in find_files(source.path):
        kind = format_of(file, source)
        if kind is None:
            yield from whole.texts(file)
            continue
        if columns is None:
            with closing(kind.rows(file, source, None)) as rows:
                sample = list(islice(rows, SAMPLE_RECORDS))
            if not sample:
                continue
            columns = choose_columns(source, sample, file.path)
        yield from texts_of(kind.rows(file, source, columns.wanted), columns, file, kind.unit)


def _spool(source: TextSource) -> Path:
    asked = [source.path, source.config, source.split, source.revision, source.text_column, source.id_column, source.max_documents]
    return spooled(content_id("texts", asked), lambda: islice(_hub_texts(source), source.max_documents))


def _hub_texts(source: TextSource) -> Iterator[RawText]:
    try:
        hub = importlib.import_module("autolabel.evidence.texts.hub")
    except ModuleNotFoundError as error:
        raise DataError(
            f"'{source.path}' needs the library {error.name}, which is not installed; pip install \"autolabel[datasets]\""
        ) from None
    dataset = Origin(source.path.removeprefix(HUB_PREFIX), source.path)
    rows: Iterator[Row] = hub.rows(source)
    sample = list(islice(rows, SAMPLE_RECORDS))
    if sample:
        columns = choose_columns(source, sample, source.path)
        yield from texts_of(chain(sample, rows), columns, dataset, "row")
