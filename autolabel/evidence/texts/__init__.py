"""Text from files, folders, globs, object stores and the Hugging Face Hub: one module per kind, one line per kind in `FORMATS`."""

from autolabel.evidence.texts.formats import FORMATS
from autolabel.evidence.texts.reading import read_texts
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, RawText

__all__ = ["FORMATS", "MAX_RECORD_BYTES", "RawText", "read_texts"]
