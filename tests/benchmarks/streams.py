"""A stream of activations that needs no model: documents of random tokens, features that fire by Zipf's law, k per token."""

from collections.abc import Iterator

import numpy as np

from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.firings import FiringBatch
from autolabel.hashing import combine
from autolabel.records import Split
from autolabel.sampling import split_of

SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}
DOCUMENT_TOKENS = 1000
VOCABULARY = 49_152


def documents(n_tokens: int, seed: int) -> Iterator[Document]:
    """Documents of 1,000 random tokens, each token four characters."""
    for number in range(n_tokens // DOCUMENT_TOKENS):
        generator = np.random.default_rng([seed, number])
        ids = generator.integers(0, VOCABULARY, DOCUMENT_TOKENS).astype(np.int32)
        name = int(combine(seed, number))
        text = "".join(f"{token % 1000:03d} " for token in ids.tolist())
        bounds = np.arange(DOCUMENT_TOKENS + 1, dtype=np.int32) * 4
        yield Document(name, name, "stream", split_of(name, seed, SHARES), text, ids, bounds)


def token_activations(generator: np.random.Generator, n_tokens: int, d_sae: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """k features of each token, ascending, by Zipf's law with exponent 0.7, and their values; repeats within a token are dropped by 0."""
    ranks = (d_sae ** (1 - 0.7) * generator.random((n_tokens, k)) + 1e-9) ** (1 / (1 - 0.7))
    features = np.sort(np.minimum(ranks.astype(np.int64), d_sae - 1), axis=1)
    values = generator.exponential(1.0, (n_tokens, k)).astype(np.float32) + np.float32(0.01)
    values[:, 1:][features[:, 1:] == features[:, :-1]] = 0
    return features, values


def firing_batches(
    n_tokens: int, d_sae: int, k: int, seed: int, context_tokens: int = 257, batch_contexts: int = 8
) -> Iterator[FiringBatch]:
    """The stream in batches of contexts."""
    waiting: list[Context] = []
    generator = np.random.default_rng(seed)
    for document in documents(n_tokens, seed):
        for context in contexts_of(document, context_tokens):
            waiting.append(context)
            if len(waiting) == batch_contexts:
                yield _batch(waiting, generator, d_sae, k)
                waiting = []
    if waiting:
        yield _batch(waiting, generator, d_sae, k)


def _batch(contexts: list[Context], generator: np.random.Generator, d_sae: int, k: int) -> FiringBatch:
    lengths = np.array([context.n_tokens for context in contexts])
    rows = np.repeat(np.arange(len(contexts)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    features, values = token_activations(generator, len(rows), d_sae, k)
    there = values > 0
    token = np.nonzero(there)[0]
    return FiringBatch(contexts, len(rows), 0, rows[token], positions[token], features[there], values[there])
