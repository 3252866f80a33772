"""From a finished collection to the tables of the store: sort what was kept, draw the exams, write the rows into files."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from autolabel.evidence.collector import Collector
from autolabel.evidence.exams import ExamBuilder
from autolabel.evidence.kept import Kept
from autolabel.evidence.tables import EvidenceTables


@dataclass(frozen=True, slots=True)
class Source:
    """What the tables need to know of where activations come from."""

    sae_id: str
    directions: torch.Tensor | None
    """Decoder directions, shape (d_sae, d_model), where there are any."""
    silence_is_known: bool = True
    """Whether a feature that is not named in a context is silent there."""
    has_token_ids: bool = True
    """Whether token ids are a model's own."""


@dataclass
class Evidence:
    """A collected evidence set as rows of the store, without `run_id` and `created_utc`."""

    sae: dict[str, Any]
    corpus: dict[str, Any]
    evidence_set: dict[str, Any]
    files: dict[str, Path]
    """Arrow streams with the rows of `features`, `windows`, `examples` and `strata`; a table without rows has none."""

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table, some at a time."""
        if table in self.files:
            with pa.OSFile(str(self.files[table])) as file, pa.ipc.open_stream(file) as stream:
                yield from stream

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Whole tables; for small sets."""
        return {table: pa.Table.from_batches(self.batches(table)) for table in self.files}

    def discard(self) -> None:
        """Remove the files, once the rows are stored."""
        for folder in {path.parent for path in self.files.values()}:
            shutil.rmtree(folder, ignore_errors=True)


def finished_tables(evidence_set_id: str, source: Source, collector: Collector, folder: Path) -> tuple[dict[str, Path], str]:
    """Write the tables of an evidence set into files of `folder`; also their hash."""
    shutil.rmtree(folder, ignore_errors=True)
    sorting = folder / "sorting"
    sorting.mkdir(parents=True)
    kept = Kept(collector, sorting)
    builder = ExamBuilder(collector, kept, collector.settings, source.directions, source.silence_is_known)
    tables = EvidenceTables(evidence_set_id, source.sae_id, collector.counts, kept, source.has_token_ids)
    writers: dict[str, pa.ipc.RecordBatchStreamWriter] = {}
    files: dict[str, Path] = {}
    try:
        for name, chunk in tables.chunks(builder.draw()):
            if name not in writers:
                files[name] = folder / f"{name}.arrows"
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                writers[name] = pa.ipc.new_stream(files[name], chunk.schema, options=options)
            writers[name].write_table(chunk)
    finally:
        for writer in writers.values():
            writer.close()
    shutil.rmtree(sorting)
    return files, tables.hash
