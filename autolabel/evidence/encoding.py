"""From text to sparse activations: documents through the subject model and one or several coders."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from autolabel.config import SubjectSettings
from autolabel.evidence.batches import ActivationBatch, Flush, run_contexts_at
from autolabel.evidence.corpus import Document
from autolabel.evidence.examine import begins_with_bos
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.sae import Coder
from autolabel.evidence.subject import Subject


def firing_batches(
    subject: Subject,
    coders: Sequence[Coder],
    norm_limits: Mapping[str, float],
    documents: Iterable[tuple[int, Document]],
    settings: SubjectSettings,
    checkpoint_batches: int,
    skipped: int = 0,
) -> Generator[list[FiringBatch], None, None]:
    """Run numbered documents through the model once; each item has a batch for every coder.

    Contexts begin with BOS unless the coders were trained without, in which they all agree.

    Args:
        subject: the model.
        coders: SAEs over any of its hookpoints.
        norm_limits: for each coder's hookpoint, the norm above which a token is an outlier.
        documents: each with the number of texts that are done once it and its like are (see `survey.Survey.documents`).
        settings: length of contexts and shape of batches.
        checkpoint_batches: about how many batches lie between two places where the collection may be cut off and go on from.
        skipped: texts passed over because they are done, which they still are where nothing follows.
    """
    tokens_between = checkpoint_batches * settings.batch_contexts * (settings.context_tokens - 1)
    bos = begins_with_bos(coders[0])
    flushed = _with_flushes(documents, tokens_between, skipped)
    with closing(run_contexts_at(subject, norm_limits, flushed, settings.context_tokens, settings.batch_contexts, bos)) as batches:
        for batch in batches:
            yield [encoded(batch[coder.hookpoint], coder) for coder in coders]


def encoded(batch: ActivationBatch, coder: Coder) -> FiringBatch:
    """What fires in a batch."""
    if not batch.contexts:
        empty = np.empty(0, dtype=np.int64)
        return FiringBatch([], 0, 0, empty, empty, empty, np.empty(0, dtype=np.float32), batch.complete_through)
    # Unusable tokens are encoded too: in a product of fixed shape, what a token yields does not depend on the others.
    code = coder.encode(batch.activations.flatten(0, 1))
    tokens = code.tokens.cpu().numpy()
    usable = batch.usable.flatten().numpy()[tokens]
    rows, positions = np.divmod(tokens[usable], batch.usable.shape[1])
    return FiringBatch(
        contexts=batch.contexts,
        n_tokens=int(batch.usable.sum()),
        n_outliers=batch.n_outliers,
        rows=rows,
        positions=positions,
        features=code.features.cpu().numpy()[usable],
        values=code.values.float().cpu().numpy()[usable],
        complete_through=batch.complete_through,
    )


def _with_flushes(documents: Iterable[tuple[int, Document]], tokens_between: int, done: int) -> Iterator[Document | Flush]:
    """Documents, with a `Flush` where a text ends once enough tokens have gone by, and at the end."""
    n_tokens = 0
    for number, document in documents:
        if n_tokens >= tokens_between and number != done:
            yield Flush(done)
            n_tokens = 0
        yield document
        done, n_tokens = number, n_tokens + len(document.token_ids)
    yield Flush(done)
