"""Collecting evidence from settings: text through the subject model and one or several SAEs into the rows of evidence sets.

The model runs over the text once. What was collected is saved now and then beside the database, so that a killed collection goes on
where it was; a finished one can be extended by more text later.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.config import Settings
from autolabel.errors import DataError
from autolabel.evidence.coders import open_coder
from autolabel.evidence.collector import Collector
from autolabel.evidence.examine import begins_with_bos
from autolabel.evidence.finishing import Evidence, Source, finished_tables
from autolabel.evidence.gate import GateReport, measure, require_pass
from autolabel.evidence.sae import Coder
from autolabel.evidence.set_rows import corpus_row, gate_columns, sae_row, set_row, unseen_by_sae
from autolabel.evidence.shards import MIN_EXAMPLES_SHARDS, EvidenceSet, gather_shard, has_enough
from autolabel.evidence.state import Checkpoint, Progress
from autolabel.evidence.subject import Subject
from autolabel.evidence.survey import Survey
from autolabel.evidence.targeting import begin, gather_rare
from autolabel.hashing import content_id


class Collection:
    """Evidence to be collected from a model, SAEs and text. Ids are known before the model runs over the text."""

    def __init__(self, settings: Settings, folder: Path, parent: str | None = None, subject: Subject | None = None) -> None:
        """Load the model and the SAEs, and read the text once to hash it.

        Args:
            settings: what to collect.
            folder: where collections are kept while they are made, each in a folder under its id.
            parent: id of a finished evidence set that the text is to be added to.
            subject: the model, where it is not to be loaded; it is changed in some way that its `identity` tells.

        Raises:
            DataError: the model, an SAE or the text cannot be used; or a given model would have to be sent to other machines.
        """
        self._settings, self._folder = settings, folder
        self._subject_settings, self._corpus_settings = settings.subject_or_refuse, settings.corpus_or_refuse
        if subject is not None and settings.engine.kind != "local":
            raise DataError(
                f"a changed model cannot be sent to other machines; set engine.kind = 'local', not '{settings.engine.kind}'"
            )
        self._subject = subject or Subject.load(self._subject_settings)
        coders = [open_coder(sae, self._subject) for sae in settings.saes]
        for coder in coders:
            self._subject.require_hookpoint(coder.hookpoint)
        if parent is not None and settings.evidence.min_examples is not None:
            raise DataError(
                "text cannot be added where only as much is read as min_examples needs; leave min_examples out, or collect all text anew"
            )
        self._parent = None if parent is None else Checkpoint(folder / parent, parent)
        known = None
        if self._parent is not None:
            for coder in coders:
                self._parent.require_alike(self._described(coder))
            known = self._parent.documents()
        context_tokens = self._subject_settings.context_tokens
        self._survey = Survey(self._corpus_settings, settings.seed, self._subject, context_tokens, known)
        self._gate_documents = self._survey.gate_documents(self._subject)
        self._corpus = self._corpus_totals()
        self._text_id = content_id("corpus", [self._corpus["content"], self._corpus_settings.document_tokens])
        self.sets = [self._set(number, coder, folder) for number, coder in enumerate(coders)]

    @property
    def evidence_set_id(self) -> str:
        """Id of the set of the SAE that the settings name first."""
        return self.sets[0].evidence_set_id

    @property
    def n_tokens(self) -> int:
        """About how many tokens of text there are, judged by the documents that the gate reads."""
        characters = sum(len(document.text) for document in self._gate_documents)
        tokens = sum(len(document.token_ids) for document in self._gate_documents)
        return round(self._survey.n_characters * tokens / max(characters, 1))

    def gate(self, force: bool) -> list[GateReport]:
        """Measure every SAE on test tokens.

        Raises:
            GateRefused: the numbers of one are nonsense and `force` is off.
        """
        for one in self.sets:
            report = measure(self._subject, one.coder, self._gate_documents, self._subject_settings.context_tokens)
            if self._parent is not None:
                report = replace(report, norm_limit=self._parent.norm_limit())
            if not force:
                require_pass(report, one.coder.name)
            one.gate = report
            one.forced = force and bool(report.problems())
        return [one.gate for one in self.sets if one.gate is not None]

    def run(self, report_tokens: Callable[[int], None], lacking: Sequence[str] | None = None) -> Iterator[Evidence]:
        """One pass over the text for all sets, or for those whose ids are `lacking`; goes on where an earlier one was cut off.

        `report_tokens` is told now and then how many tokens are done.
        """
        sets = [one for one in self.sets if lacking is None or one.evidence_set_id in lacking]
        if any(one.gate is None for one in sets):
            self.gate(force=False)
        alike: dict[tuple[int, ...], list[tuple[EvidenceSet, Collector, Progress]]] = {}
        for one in sets:
            collector, progress = self._begun(one)
            by_itself = one.number if collector.rare is not None else -1
            place = (progress.shard, progress.complete_through, begins_with_bos(one.coder), by_itself)
            alike.setdefault(place, []).append((one, collector, progress))
        for together in alike.values():
            open_sets = [(one, collector) for one, collector, progress in together if not progress.finished]
            if open_sets:
                self._gather(open_sets, together[0][2], report_tokens)
            if self._settings.engine.kind == "ray":
                _ray_engine().discard_shards(self._settings, self._folder, [one.evidence_set_id for one, _, _ in together])
            for one, collector, _ in together:
                yield self._finished(one, collector)

    def _gather(self, sets: list[tuple[EvidenceSet, Collector]], start: Progress, report_tokens: Callable[[int], None]) -> None:
        """Collect everything that the text still holds for sets that have come equally far."""
        if self._settings.engine.kind == "ray":
            self._gather_with_ray(sets, start, report_tokens)
        elif sets[0][1].rare is not None:
            self._gather_rare(*sets[0], start, report_tokens)
        else:
            n_read = self._gather_here(sets, start, report_tokens)
            for (one, collector), n in zip(sets, n_read, strict=True):
                if self._settings.evidence.target_rare and n < MIN_EXAMPLES_SHARDS:
                    collector.rare = begin(collector, n, self._survey, self._subject)
                    one.checkpoint.save(collector, self._progress(one, shard=n))
                    self._gather_rare(one, collector, Progress(shard=n), report_tokens)
        for one, collector in sets:
            one.checkpoint.save_documents(self._all_documents())
            progress = self._progress(one, finished=True, corpus=self._corpus)
            one.checkpoint.save(collector, progress, compact_factor=1.2)

    def _gather_with_ray(
        self, sets: list[tuple[EvidenceSet, Collector]], start: Progress, report_tokens: Callable[[int], None]
    ) -> None:
        """Have the shards of the text collected by the workers of a cluster."""
        if start.shard or start.complete_through:
            raise DataError(
                f"'{sets[0][0].checkpoint.folder}' holds a collection that one machine has begun; set engine.kind = \"local\" to go on "
                "with it, or delete the folder"
            )
        evidence_sets, collectors = zip(*sets, strict=True)
        _ray_engine().gather(self._settings, self._survey, evidence_sets, collectors, self._folder, report_tokens)

    def _gather_here(
        self, sets: list[tuple[EvidenceSet, Collector]], start: Progress, report_tokens: Callable[[int], None]
    ) -> list[int]:
        """Collect in this process, for each set only as much of the text as it needs; how many shards each has read."""
        n_shards = MIN_EXAMPLES_SHARDS if self._settings.evidence.min_examples else 1
        n_read = [n_shards] * len(sets)
        lacking = list(range(len(sets)))
        for shard in range(start.shard, n_shards):
            together = [sets[number] for number in lacking]
            place = (shard, n_shards, start.complete_through if shard == start.shard else 0)

            def save(
                complete_through: int, shard: int = shard, together: Sequence[tuple[EvidenceSet, Collector]] = together
            ) -> None:
                for one, collector in together:
                    one.checkpoint.save(collector, self._progress(one, shard=shard, complete_through=complete_through))

            coders = [(one.coder, one.norm_limit, collector) for one, collector in together]
            gather_shard(self._settings, self._subject, self._survey, coders, place, save, report_tokens)
            enough = [number for number in lacking if has_enough(sets[number][1])]
            n_read = [shard + 1 if number in enough else n for number, n in enumerate(n_read)]
            lacking = [number for number in lacking if number not in enough]
            if not lacking:
                break
        return n_read

    def _gather_rare(self, one: EvidenceSet, collector: Collector, start: Progress, report_tokens: Callable[[int], None]) -> None:
        """Look for the rare features of a set in the shards from `start` on."""

        def save(shard: int, complete_through: int) -> None:
            one.checkpoint.save(collector, self._progress(one, shard=shard, complete_through=complete_through))

        place = (start.shard, start.complete_through)
        gather_rare(self._settings, self._subject, self._survey, one, collector, place, save, report_tokens)

    def _begun(self, one: EvidenceSet) -> tuple[Collector, Progress]:
        """The collection of a set as an earlier run left it; a new one begins with what its parent holds."""
        settings = self._settings
        collector, progress = one.checkpoint.load(one.coder.d_sae, settings.evidence, settings.seed)
        if (progress.shard or progress.complete_through) and not progress.finished and progress.order != self._survey.order:
            raise DataError(
                f"'{one.checkpoint.folder}' holds a collection of the same text, begun when its files were in another order; bring them back "
                "into that order to go on, or delete the folder to begin anew"
            )
        if progress == Progress() and self._parent is not None:
            before, _ = self._parent.load(one.coder.d_sae, settings.evidence, settings.seed)
            collector.merge(before)
            one.checkpoint.save(collector, self._progress(one))
        return collector, progress

    def _finished(self, one: EvidenceSet, collector: Collector) -> Evidence:
        source = Source(one.sae_id, one.coder.W_dec)
        files, found = finished_tables(one.evidence_set_id, source, collector, one.checkpoint.folder / "tables")
        settings = self._settings
        corpus = corpus_row(settings, self._corpus, collector, unseen_by_sae(settings, one.coder))
        # What is known of a text, and how much of it was read, are facts of a set: sets that differ in them have corpora of their own.
        corpus["corpus_id"] = content_id("corpus", [self._text_id, corpus])
        evidence_set = {
            **set_row(one.evidence_set_id, one.sae_id, corpus["corpus_id"], self._collection(one.coder), collector, found),
            **gate_columns(one.gate, one.forced),
            "control": self._subject.control,
            "parent_evidence_set_id": None if self._parent is None else self._parent.identity,
        }
        return Evidence(sae_row(one.sae_id, one.coder, self._subject.name), corpus, evidence_set, files)

    def _set(self, number: int, coder: Coder, folder: Path) -> EvidenceSet:
        sae_id = coder.sae_id(self._subject.identity)
        determinants: list[Any] = [sae_id, self._text_id, self._settings.seed, self._collection(coder), self._subject.identity]
        if self._parent is not None:
            determinants.append(self._parent.identity)
        identity = content_id("evidence_set", determinants)
        return EvidenceSet(number, coder, sae_id, identity, Checkpoint(folder / identity, identity))

    def _collection(self, coder: Coder) -> dict[str, Any]:
        """The settings that decide what is collected."""
        return {
            "bos": begins_with_bos(coder),
            **self._settings.evidence.model_dump(mode="json"),
            "dtype": self._subject.number_format,
            "context_tokens": self._subject_settings.context_tokens,
            "batch_contexts": self._subject_settings.batch_contexts,
            "split_shares": self._corpus_settings.shares,
        }

    def _described(self, coder: Coder) -> dict[str, Any]:
        """What must be the same for text to be added later."""
        return {
            "sae_id": coder.sae_id(self._subject.identity),
            "seed": self._settings.seed,
            "document_tokens": self._corpus_settings.document_tokens,
            **self._collection(coder),
        }

    def _corpus_totals(self) -> dict[str, Any]:
        """What the text holds, that of a parent included."""
        survey = self._survey
        before = {"content": 0, "n_source_documents": 0, "n_duplicates": 0}
        if self._parent is not None:
            before = self._parent.corpus()
        return {
            "content": (before["content"] + survey.content) % 2**64,
            "n_source_documents": before["n_source_documents"] + survey.n_source_documents,
            "n_duplicates": before["n_duplicates"] + survey.n_duplicates + survey.n_known,
        }

    def _all_documents(self) -> Any:
        known = [] if self._parent is None else [self._parent.documents()]
        return np.unique(np.concatenate([*known, self._survey.hashes]))

    def _progress(self, one: EvidenceSet, **changes: Any) -> Progress:
        gate = None if one.gate is None else one.gate.as_dict()
        return replace(Progress(gate=gate, order=self._survey.order, described=self._described(one.coder)), **changes)


def _ray_engine() -> Any:
    return import_optional("autolabel.evidence.ray_engine", "ray")


def import_optional(module: str, extra: str) -> Any:
    """Import a module of autolabel that needs an optional library.

    Raises:
        DataError: the library is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(f'{error.name} is not installed; `pip install "autolabel[{extra}]"` brings it') from None
