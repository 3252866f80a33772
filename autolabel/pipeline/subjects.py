"""The subject model of a run, for scorers that ask it: loaded when it is first asked, and not before."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.config import Settings
from autolabel.errors import ConfigError
from autolabel.records import Subject
from autolabel.store.connection import Database
from autolabel.store.dictionary import load_dictionary

OpenSubject = Callable[[str], Subject]
"""From the id of an evidence set to the model it was collected from."""


class LazySubject:
    """A `Subject` that is opened when it is first asked; a run that has nothing to ask of it never loads a model."""

    def __init__(self, opened: Callable[[], Subject]) -> None:
        self._open = opened
        self._lock = threading.Lock()
        self._subject: Subject | None = None

    def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `records.Subject`; the first of several threads opens it, the others wait."""
        with self._lock:
            if self._subject is None:
                self._subject = self._open()
        return self._subject.feature_activations(texts)


class SilentSubject:
    """A `Subject` that runs nothing and in which nothing fires, for dry runs."""

    def __init__(self, d_sae: int) -> None:
        self._d_sae = d_sae

    def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Zeros, shape (n_texts, d_sae)."""
        return np.zeros((len(texts), self._d_sae), dtype=np.float32)


def silent_subject(database: Database, evidence_set_id: str) -> Subject:
    """A model as wide as the one that an evidence set was collected from."""
    return SilentSubject(load_dictionary(database, evidence_set_id).d_sae)


def load_subject(settings: Settings, database: Database, evidence_set_id: str) -> Subject:
    """The model and SAE of the settings, which must be those that the evidence was collected from.

    Raises:
        ConfigError: the evidence was collected from no model, or without the load gate's numbers.
        DataError: the model or the SAE cannot be used, or they are others.
    """
    # Imported here, because torch takes seconds to load.
    from autolabel.evidence.text_features import TextFeatures

    known = load_dictionary(database, evidence_set_id)
    if known.norm_limit is None:
        raise ConfigError(
            f"evidence set {evidence_set_id[:12]} does not say which tokens were left out, so texts cannot be run as its text was; "
            "collect it again from [subject], [sae] and [corpus], or leave 'generation' and 'fade' out of [score] scorers"
        )
    return TextFeatures.load(settings.subject_or_refuse, settings.saes[0], known.sae_id, known.norm_limit)
