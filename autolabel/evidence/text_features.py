"""What every feature does on a few texts that were not collected: written ones, put through the run's own model and coder.

The invariant: a token counts here exactly when it would have counted in the collected evidence: contexts are cut and begun the same
way, the position of BOS is left out, and so is a token whose norm exceeds the limit that the collection used.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from autolabel.config import SaeSettings, SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts
from autolabel.evidence.coders import open_coder
from autolabel.evidence.corpus import Document
from autolabel.evidence.encoding import encoded
from autolabel.evidence.examine import begins_with_bos
from autolabel.evidence.sae import Coder
from autolabel.evidence.subject import Subject

REMEMBERED = 5_000_000
"""Activations that are remembered at most, 8 bytes each: texts written from one label are compared with by several others."""
MAX_TEXT_CHARACTERS = 20_000
"""No text of a few sentences is longer; one that is would take a batch of contexts for itself."""

Sparse = tuple[NDArray[np.int32], NDArray[np.float32]]
"""The features that fire in a text, ascending, and their largest activations."""


class TextFeatures:
    """The `records.Subject` of a run: a language model and a coder over it."""

    def __init__(self, subject: Subject, coder: Coder, settings: SubjectSettings, norm_limit: float) -> None:
        """`norm_limit` is the norm at the coder's hookpoint above which the collection left tokens out."""
        if not norm_limit > 0:
            raise DataError(
                f"the norm above which tokens are left out is {norm_limit}; expected a number above 0, as the gate measured"
            )
        self._subject, self._coder, self._settings, self._norm_limit = subject, coder, settings, norm_limit
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Sparse] = OrderedDict()
        self._n_known = 0

    @classmethod
    def load(cls, settings: SubjectSettings, sae: SaeSettings, sae_id: str, norm_limit: float) -> "TextFeatures":
        """Load the model and the coder that evidence of `sae_id` was collected with.

        Raises:
            DataError: one of them cannot be used, or together they are not the source of features of that id.
        """
        subject = Subject.load(settings)
        coder = open_coder(sae, subject)
        subject.require_hookpoint(coder.hookpoint)
        found = coder.sae_id(subject.identity)
        if found != sae_id:
            raise DataError(
                f"[sae] '{sae.path or sae.kind}' over '{settings.model}' has the id {found[:12]}, the evidence was collected with {sae_id[:12]}; "
                "name the model and the SAE that the evidence comes from"
            )
        return cls(subject, coder, settings, norm_limit)

    @property
    def d_sae(self) -> int:
        """How many features there are."""
        return self._coder.d_sae

    def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The largest activation of every feature in each text, shape (n_texts, d_sae); see `records.Subject`.

        Texts are run in batches of the settings' shape, so that what a text yields does not depend on its company.

        Raises:
            DataError: a text is too long to be one of a few sentences.
        """
        too_long = next((text for text in texts if len(text) > MAX_TEXT_CHARACTERS), None)
        if too_long is not None:
            raise DataError(f"a text of {len(too_long)} characters ({too_long[:40]!r}…); expected at most {MAX_TEXT_CHARACTERS}")
        with self._lock:
            missing = list(dict.fromkeys(text for text in texts if text not in self._known))
            fresh = self._run(missing)
            found = np.zeros((len(texts), self.d_sae), dtype=np.float32)
            for row, text in enumerate(texts):
                features, largest = fresh[text] if text in fresh else self._known[text]
                found[row, features] = largest
            self._remember(fresh)
        return found

    def _run(self, texts: Sequence[str]) -> dict[str, Sparse]:
        """What fires in texts that are not known yet."""
        documents = [self._document(number, text) for number, text in enumerate(texts)]
        settings, hookpoint = self._settings, self._coder.hookpoint
        shape = (settings.context_tokens, settings.batch_contexts, self._norm_limit, begins_with_bos(self._coder))
        keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float32)]
        with closing(run_contexts(self._subject, hookpoint, documents, *shape)) as batches:
            for batch in batches:
                fired = encoded(batch, self._coder)
                number = np.array([context.document.hash for context in fired.contexts], dtype=np.int64)
                keys.append(number[fired.rows] * self.d_sae + fired.features)
                values.append(fired.values)
        return _by_text(texts, np.concatenate(keys), np.concatenate(values), self.d_sae)

    def _document(self, number: int, text: str) -> Document:
        """A text as a document that goes by its number."""
        token_ids, bounds = self._subject.encode(text)
        return Document(number, number, "written", "test", text, token_ids, bounds)

    def _remember(self, fresh: dict[str, Sparse]) -> None:
        self._known.update(fresh)
        self._n_known += sum(len(features) for features, _ in fresh.values())
        while self._n_known > REMEMBERED and len(self._known) > len(fresh):
            _, (features, _) = self._known.popitem(last=False)
            self._n_known -= len(features)


def _by_text(texts: Sequence[str], keys: NDArray[np.int64], values: NDArray[np.float32], d_sae: int) -> dict[str, Sparse]:
    """Largest values by text; a key is the text's number times `d_sae` plus the feature."""
    distinct, place = np.unique(keys, return_inverse=True)
    largest = np.zeros(len(distinct), dtype=np.float32)
    np.maximum.at(largest, place, values)
    ends = np.searchsorted(distinct, np.arange(1, len(texts)) * d_sae)
    features = np.split((distinct % d_sae).astype(np.int32), ends)
    return dict(zip(texts, zip(features, np.split(largest, ends), strict=True), strict=True)) if texts else {}
