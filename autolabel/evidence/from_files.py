"""Collecting evidence from files with activations: no model, the same collector."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autolabel.config import Settings, SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import MIN_DOCUMENTS_PER_SPLIT
from autolabel.evidence.finishing import Evidence, Source, finished_tables
from autolabel.evidence.set_rows import set_row
from autolabel.evidence.sources import ActivationFiles, SourceCounts, open_source
from autolabel.evidence.state import Checkpoint, Progress
from autolabel.hashing import content_id
from autolabel.records import SPLITS
from autolabel.sampling import TILE_TOKENS

BATCH_CONTEXTS = 64


class FileCollection:
    """Evidence to be collected from files with activations."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Open the files.

        Raises:
            DataError: they cannot be used.
        """
        self._settings = settings
        self._source_settings = settings.source_or_refuse
        self._source = open_source(self._source_settings)
        self._counts: SourceCounts = self._source.counts(settings.seed, self._source_settings.shares)
        self._require_splits()
        self._sae_id = _sae_id(self._source)
        self._corpus_id = content_id("corpus", self._source.content_hash)
        determinants = [self._sae_id, self._corpus_id, settings.seed, self._collection()]
        self.evidence_set_id = content_id("evidence_set", determinants)
        self._checkpoint = Checkpoint(folder / self.evidence_set_id, self.evidence_set_id)

    @property
    def n_tokens(self) -> int:
        """Tokens of all contexts."""
        return self._source.n_tokens

    def run(self, report_tokens: Callable[[int], None]) -> Evidence:
        """Read the files once; goes on where an earlier reading was cut off.

        Raises:
            DataError: a file is malformed.
        """
        settings, source = self._settings, self._source
        collector, progress = self._checkpoint.load(source.d_sae, settings.evidence, settings.seed)
        if not progress.finished:
            shares = self._source_settings.shares
            for number, batch in enumerate(source.read(settings.seed, shares, BATCH_CONTEXTS, progress.complete_through), 1):
                collector.add(batch)
                report_tokens(collector.counts.all_tokens)
                if number % settings.engine.checkpoint_batches == 0 and batch.complete_through is not None:
                    progress = replace(progress, complete_through=batch.complete_through)
                    self._checkpoint.save(collector, progress)
            self._checkpoint.save(collector, Progress(finished=True), compact_factor=1.2)
        directions = None if source.directions is None else torch.from_numpy(source.directions)
        described = Source(self._sae_id, directions, source.complete, has_token_ids=False)
        files, found = finished_tables(self.evidence_set_id, described, collector, self._checkpoint.folder / "tables")
        evidence_set = set_row(self.evidence_set_id, self._sae_id, self._corpus_id, self._collection(), collector, found)
        return Evidence(self._sae_row(), self._corpus_row(collector), evidence_set, files)

    def _require_splits(self) -> None:
        """Refuse files whose documents cannot be split; where nothing can be scored, a tile anywhere will do."""
        if not self._source.complete:
            if not any(self._counts.tiles_by_split.values()):
                raise DataError(
                    f"'{self._source_settings.path}': no context holds a tile of {TILE_TOKENS} tokens, so there is nothing to show; "
                    f"contexts of {2 * TILE_TOKENS - 1} tokens always hold one"
                )
            return
        for split in SPLITS:
            documents, tiles = self._counts.source_documents_by_split[split], self._counts.tiles_by_split[split]
            if documents < MIN_DOCUMENTS_PER_SPLIT or tiles == 0:
                raise DataError(
                    f"'{self._source_settings.path}': the {split} split holds {documents} documents with {tiles} tiles of {TILE_TOKENS} "
                    f"tokens, at least {MIN_DOCUMENTS_PER_SPLIT} documents and a tile are needed; add contexts of other documents"
                )

    def _collection(self) -> dict[str, Any]:
        return {**self._settings.evidence.model_dump(mode="json"), "split_shares": self._source_settings.shares}

    def _sae_row(self) -> dict[str, Any]:
        source = self._source
        return {
            "sae_id": self._sae_id,
            "name": source.name,
            "kind": source.kind,
            "format": source.format,
            "subject_model": source.subject_model,
            "d_sae": source.d_sae,
            "d_model": None if source.directions is None else source.directions.shape[1],
            "weights_hash": source.content_hash,
            "config": source.config,
        }

    def _corpus_row(self, collector: Collector) -> dict[str, Any]:
        return {
            "corpus_id": self._corpus_id,
            "name": self._source.name,
            "sources": collector.corpus.as_dict()["by_source"],
            "n_source_documents": self._counts.n_source_documents,
            "n_documents": collector.corpus.n_documents,
            "n_duplicates": self._counts.n_duplicates,
            "n_tokens": collector.corpus.n_tokens,
            "unseen_by_labeler": "unknown",
            "unseen_by_sae": "unknown",
            "unseen_by_subject": "unknown",
        }


def file_sae_id(settings: SourceSettings) -> str:
    """The id of the features that files describe.

    Raises:
        DataError: the files cannot be used.
    """
    return _sae_id(open_source(settings))


def _sae_id(source: ActivationFiles) -> str:
    return content_id("sae", [source.kind, source.format, source.content_hash, source.d_sae, source.config])
