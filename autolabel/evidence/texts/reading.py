"""The texts of a source in a fixed order.

The invariant: the same content gives the same documents, ids and order wherever it lies, in flat memory.
"""

import importlib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from autolabel.config import HUB_PREFIX, TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts import whole
from autolabel.evidence.texts.columns import choose_columns, first_records, named_columns, texts_of
from autolabel.evidence.texts.files import find_files
from autolabel.evidence.texts.formats import format_of
from autolabel.evidence.texts.records import Origin, RawText, Row
from autolabel.evidence.texts.spool import spooled, spooled_texts
from autolabel.hashing import content_id


def read_texts(source: TextSource, skip: int = 0) -> Iterator[RawText]:
    """The documents of a source: file after file in the order of their names, then in the order of the file.

    `skip` passes over the first documents, `max_documents` of the settings counted from the very first.

    Raises:
        DataError: the source is missing or cannot be read; the message names the file and the line or row.
    """
    texts = spooled_texts(_spool(source)) if source.is_on_the_hub else _file_texts(source)
    return islice(texts, skip, source.max_documents)


def _file_texts(source: TextSource) -> Iterator[RawText]:
    columns = named_columns(source)
    for file in find_files(source.path):
        kind = format_of(file, source)
        if kind is None:
            yield from whole.texts(file)
            continue
        if columns is None:
            with closing(kind.rows(file, source, None)) as rows:
                sample = first_records(rows)
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
    columns, sample = named_columns(source), list[Row]()
    if columns is None:
        sample = first_records(rows)
        if not sample:
            return
        columns = choose_columns(source, sample, source.path)
    yield from texts_of(chain(sample, rows), columns, dataset, "row")
