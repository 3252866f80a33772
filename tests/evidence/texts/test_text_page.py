"""The page for users says what the code does."""

import re
import textwrap
import tomllib
from pathlib import Path

from autolabel.config import CorpusSettings
from autolabel.evidence.texts import FORMATS, MAX_RECORD_BYTES
from autolabel.evidence.texts.columns import ID_NAMES, MAX_ID_CHARACTERS, SAMPLE_CHARACTERS, SAMPLE_RECORDS, TEXT_NAMES
from autolabel.evidence.texts.parquet import _BATCH_ROWS

PAGE = (Path(__file__).parents[3] / "docs" / "corpora.md").read_text(encoding="utf-8")


def quoted(first: str, second: str) -> list[str]:
    """The names in backticks of the list that begins with these two."""
    listing = re.search(rf"`{first}`, `{second}`(?:(?:,| or)\s+`\w+`)+", PAGE)
    assert listing is not None
    return re.findall(r"`(\w+)`", listing[0])


def test_the_examples_are_settings() -> None:
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", PAGE, re.MULTILINE)
    tables = tomllib.loads(textwrap.dedent("".join(blocks)).replace("corpus.", ""))
    sources = CorpusSettings.model_validate(tables).sources
    assert [source.path.partition(":")[0] for source in sources][-3:] == ["s3", "hf", "part"]


def test_the_rules_are_those_of_the_code() -> None:
    assert tuple(quoted("text", "content")) == TEXT_NAMES
    assert tuple(quoted("id", "_id")) == ID_NAMES
    assert f"**{MAX_RECORD_BYTES // 1024**2} MiB**" in PAGE
    assert f"at most {MAX_ID_CHARACTERS} characters" in PAGE
    assert f"the first {SAMPLE_RECORDS} records" in PAGE
    assert f"once they hold {SAMPLE_CHARACTERS // 1024**2} MiB of text" in PAGE
    assert f"up to {_BATCH_ROWS} rows" in PAGE
    assert [suffix for one in FORMATS.values() for suffix in one.suffixes if f"`{suffix}`" not in PAGE] == []
