"""A text file is a document."""

from collections.abc import Iterator

from autolabel.errors import DataError
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, RawText, TextFile
from autolabel.evidence.texts.streams import opened, too_long


def texts(file: TextFile) -> Iterator[RawText]:
    """The file's text, without a byte order mark, under the file's name; nothing when it is empty.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or is longer than a document may be.
    """
    with opened(file) as stream:
        content = stream.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise too_long(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"'{file.path}' is not UTF-8 text (byte {error.start}); convert it or leave it out") from None
    if text:
        yield RawText(text, file.name)
