"""Records of a dataset on the Hugging Face Hub. The only module that needs the optional library `datasets`."""

from pathlib import Path

import datasets
import pyarrow as pa

from autolabel.config import HUB_PREFIX, TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts.addresses import client_errors, shown
from autolabel.evidence.texts.records import Rows

_SCRIPT_ADVICE = (
    '; no code of a dataset is run: set revision = "refs/convert/parquet" if the Hub keeps the dataset as Parquet files there, '
    "or download its files and give their path"
)


def rows(source: TextSource) -> Rows:
    """Every record of the dataset's split with its number from 1, streamed or downloaded as a whole first.

    Raises:
        DataError: there is no such dataset, configuration, split or revision, it needs code of its own, or the Hub cannot be reached.
    """
    name = source.path.removeprefix(HUB_PREFIX)
    if Path(name).exists():
        raise DataError(f"'{source.path}' is a folder here, which would be read in place of the dataset; give its path without hf:")
    try:
        records = datasets.load_dataset(
            name, source.config, split=source.split, revision=source.revision, streaming=source.streaming
        )
        yield from enumerate(records, 1)
    except client_errors(OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, pa.ArrowException) as error:
        why = " ".join(shown(str(error)).split())[:500] or type(error).__name__
        advice = _SCRIPT_ADVICE if "scripts are no longer supported" in why else ""
        raise DataError(f"cannot read '{source.path}' (config {source.config}, split {source.split}): {why}{advice}") from None
