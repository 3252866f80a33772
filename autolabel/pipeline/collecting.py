"""The first stage: evidence from a model and text, or from files with activations, into the store; nothing is collected twice."""

import shutil
from pathlib import Path

from autolabel.config import Settings
from autolabel.errors import ConfigError, NothingToAdd
from autolabel.evidence.coders import open_coder
from autolabel.evidence.collect import Collection
from autolabel.evidence.finishing import Evidence
from autolabel.evidence.from_files import FileCollection, file_sae_id
from autolabel.evidence.manifest import full_disk_named
from autolabel.evidence.subject import Subject
from autolabel.pipeline.stages import Watcher
from autolabel.store.reading import evidence_sets, latest_evidence_set
from autolabel.store.run_store import RunStore


def collections_folder(db: Path) -> Path:
    """Where the collections of a database are kept while they are made, and afterwards, so that text can be added to them."""
    return db.with_name(f"{db.name}.evidence")


def collected(settings: Settings, store: RunStore) -> str:
    """The newest evidence set there is for the features that the settings name first.

    Raises:
        StoreError: there is none.
    """
    if settings.source is not None:
        return latest_evidence_set(store.database, file_sae_id(settings.source))
    subject = Subject.load(settings.subject_or_refuse)
    return latest_evidence_set(store.database, open_coder(settings.saes[0], subject).sae_id(subject.identity))


def collect(settings: Settings, store: RunStore, watcher: Watcher, force: bool, extend: str | None) -> str:
    """Collect what is lacking; the id of the evidence set of the features that the settings name first.

    Raises:
        AutolabelError: the evidence cannot be collected; a collection that has begun goes on where it was the next time.
    """
    folder = collections_folder(store.database.path)
    known = evidence_sets(store.database)
    is_control = settings.subject is not None and settings.subject.weights != "as_they_are"
    parent = None if extend is None else _named(extend, known, store, is_control)
    if settings.source is not None:
        return _from_files(settings, store, watcher, folder, parent)
    try:
        collection = Collection(settings, folder, parent)
    except NothingToAdd:
        # "latest" is by now the set that an earlier run of the same command has made.
        if extend != "latest" or parent is None:
            raise
        watcher.say(f"evidence set {parent[:12]} holds all of this text already")
        return parent
    ids = [one.evidence_set_id for one in collection.sets]
    lacking = [evidence_set_id for evidence_set_id in ids if evidence_set_id not in known]
    for evidence_set_id in ids:
        if evidence_set_id in known:
            watcher.say(f"evidence set {evidence_set_id[:12]} is there already")
    if lacking:
        for gate in collection.gate(force):
            watcher.say(gate.summary())
        watcher.stage("collecting evidence", collection.n_tokens)
        with full_disk_named(folder):
            for evidence in collection.run(watcher.advance, lacking):
                _keep(evidence, settings, store, watcher, folder)
    return collection.evidence_set_id


def _from_files(settings: Settings, store: RunStore, watcher: Watcher, folder: Path, parent: str | None) -> str:
    if parent is not None:
        raise ConfigError("files with activations cannot extend an evidence set; put the contexts of both into one pair of files")
    collection = FileCollection(settings, folder)
    if collection.evidence_set_id in evidence_sets(store.database):
        watcher.say(f"evidence set {collection.evidence_set_id[:12]} is there already")
        return collection.evidence_set_id
    watcher.stage("collecting evidence", collection.n_tokens)
    with full_disk_named(folder):
        _keep(collection.run(watcher.advance), settings, store, watcher, folder)
    return collection.evidence_set_id


def _keep(evidence: Evidence, settings: Settings, store: RunStore, watcher: Watcher, folder: Path) -> None:
    watcher.say("storing evidence")
    single = {"saes": evidence.sae, "corpora": evidence.corpus, "evidence_sets": evidence.evidence_set}
    store.insert_evidence(single, {table: evidence.batches(table) for table in evidence.files})
    evidence.discard()
    evidence_set_id = evidence.evidence_set["evidence_set_id"]
    if settings.engine.keep_state and settings.source is None:
        size = sum(path.stat().st_size for path in (folder / evidence_set_id).rglob("*") if path.is_file())
        watcher.say(
            f"{folder / evidence_set_id} ({size / 1e6:,.0f} MB) lets text be added with --extend {evidence_set_id[:8]}; it may be deleted"
        )
    else:
        shutil.rmtree(folder / evidence_set_id, ignore_errors=True)


def _named(extend: str, known: set[str], store: RunStore, is_control: bool) -> str:
    if extend == "latest":
        return latest_evidence_set(store.database, controls=is_control)
    found = [evidence_set_id for evidence_set_id in known if evidence_set_id.startswith(extend)]
    if len(found) != 1:
        some = ", ".join(sorted(one[:12] for one in known)) or "none"
        raise ConfigError(f"--extend {extend!r} names {len(found)} evidence sets; the database holds {some}")
    return found[0]
