"""Collected evidence as rows of the store, chunk by chunk, and the hash that says two collections found the same."""

import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.stats
from numpy.typing import NDArray

from autolabel.evidence.counts import Counts
from autolabel.evidence.draws import KINDS, STATUSES, Draws
from autolabel.evidence.kept import Kept
from autolabel.evidence.table_hash import TableHasher
from autolabel.records import SPLITS, STRATA

TOP_TOKENS = 10
_TILE_BITS = np.arange(32, dtype=np.uint32)


class EvidenceTables:
    """Makes the tables `features`, `examples`, `strata` and `windows` of an evidence set, without `run_id`, and hashes them."""

    def __init__(self, evidence_set_id: str, sae_id: str, counts: Counts, kept: Kept, has_token_ids: bool = True) -> None:
        self._ids = {"evidence_set_id": evidence_set_id, "sae_id": sae_id}
        self._counts = counts
        self._kept = kept
        self._has_token_ids = has_token_ids
        self._names = _names(kept.ids)
        self._used = np.zeros(len(kept.ids), dtype=bool)
        self._hasher = TableHasher()

    def chunks(self, drawn: Iterable[Draws]) -> Iterator[tuple[str, pa.Table]]:
        """The tables piece by piece, each with its name; windows come last. Once all are taken, `hash` covers them."""
        for draws in drawn:
            yield from self._hashed("features", self._features(draws))
            yield from self._hashed("examples", self._examples(draws))
            yield from self._hashed("strata", self._strata(draws))
            self._used[draws.examples["row"]] = True
        for background in self._kept.background.values():
            self._used[background.rows] = True
        for rows, batch in self._kept.tile_batches():
            yield from self._hashed("windows", self._windows(rows, batch))

    @property
    def hash(self) -> str:
        """Equal evidence has equal hashes; see `TableHasher`."""
        return self._hasher.hexdigest()

    def _hashed(self, name: str, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        if table.num_rows:
            self._hasher.add(name, table)
            yield name, table

    def _constant(self, n: int, *names: str) -> dict[str, pa.Array]:
        return {name: pa.array([self._ids[name]] * n, pa.string()) for name in names}

    def _features(self, draws: Draws) -> pa.Table:
        counts, n = self._counts, draws.n_features
        own = slice(draws.start, draws.start + n)
        fired, tokens = counts.fired[own], counts.tokens[own]
        top, entropy = self._token_shares(draws)
        targeted = self._kept.targeted(own.start, own.stop)
        return pa.table(
            {
                **self._constant(n, "evidence_set_id", "sae_id"),
                "feature_index": pa.array(np.arange(own.start, own.stop), pa.int32()),
                "evidence_status": pa.array([STATUSES[status] for status in draws.status], pa.string()),
                "n_tokens_fired": tokens,
                "n_tiles_fired": fired,
                **{f"n_tiles_fired_{split}": counts.tiles(split)[own] for split in SPLITS},
                "n_tiles_targeted": pa.array(targeted, mask=targeted < 0),
                "n_contexts_fired": counts.contexts[own],
                "firing_rate": fired / max(counts.n_tiles, 1),
                "firing_rate_high": _upper(fired, counts.n_tiles),
                "density": tokens / max(counts.all_tokens, 1),
                "max_activation": _or_null(counts.largest[own].astype(np.float64), tokens),
                "mean_activation": _or_null(counts.means[own], tokens),
                "activation_deviation": _or_null(counts.deviations[own], tokens),
                "firing_threshold": draws.threshold,
                "histogram": pa.array(list(counts.histogram[own]), pa.list_(pa.int64())),
                "top_tokens": pa.array(top, pa.string()),
                "token_entropy": pa.array(entropy, pa.float64()),
                "neighbours": pa.array(draws.neighbours, pa.list_(pa.int32())),
            }
        )

    def _token_shares(self, draws: Draws) -> tuple[list[str | None], list[float | None]]:
        """Which tokens carry each feature's activation in its uniform train sample: the top ones, and the entropy in bits."""
        examples = draws.examples
        own = np.flatnonzero((examples["split"] == 0) & (examples["stratum"] == 0) & (examples["pair"] >= 0))
        pairs, rows = examples["pair"][own], examples["row"][own]
        lengths, positions, values = self._kept.entries_of(pairs)
        distinct, place = np.unique(rows, return_inverse=True)
        tokens = self._kept.tokens(distinct)
        columns = tokens.shape[1] - _TILE_BITS.size + positions.astype(np.int64)
        token = tokens[np.repeat(place, lengths), columns].astype(np.int64)
        feature = np.repeat(examples["feature"][own], lengths)
        groups, inverse = np.unique(feature << 32 | token, return_inverse=True)
        # Exact sums in units of 2^-16, so that shares do not depend on the order of the examples.
        mass = np.bincount(inverse, np.rint(values.astype(np.float64) * 65536), minlength=len(groups))
        bounds = np.searchsorted(groups >> 32, np.arange(draws.n_features + 1))
        n_entries = np.bincount(feature, minlength=draws.n_features)
        top: list[str | None] = []
        entropy: list[float | None] = []
        for number in range(draws.n_features):
            part = mass[bounds[number] : bounds[number + 1]]
            if not part.sum() > 0:
                top.append(None)
                entropy.append(None)
                continue
            shares = part / part.sum()
            ids = groups[bounds[number] : bounds[number + 1]] & 0xFFFFFFFF
            best = np.lexsort((ids, -shares))[:TOP_TOKENS].tolist()
            named = [
                {"token": self._kept.vocabulary.text(int(ids[i])), "share": round(float(shares[i]), 4), "n": int(n_entries[number])}
                for i in best
            ]
            top.append(json.dumps(named, ensure_ascii=False))
            positive = shares[shares > 0]
            entropy.append(float(-(positive * np.log2(positive)).sum()) + 0.0)
        return top, entropy

    def _examples(self, draws: Draws) -> pa.Table:
        examples = draws.examples
        n = len(examples["row"])
        context = self._kept.n_context_tokens[examples["row"]]
        lengths, positions, values = self._kept.entries_of(examples["pair"])
        return pa.table(
            {
                **self._constant(n, "evidence_set_id"),
                "feature_index": pa.array(examples["feature"] + draws.start, pa.int32()),
                "window_id": self._names.take(pa.array(examples["row"])),
                "split": _words(SPLITS, examples["split"]),
                "kind": _words(KINDS, examples["kind"]),
                "stratum": _words(STRATA, examples["stratum"]),
                "in_exam": pa.array(examples["in_exam"]),
                "sample_rank": pa.array(examples["rank"], pa.int32()),
                "quantile": pa.array(examples["quantile"].astype(np.int32), mask=examples["quantile"] < 0),
                "inclusion_weight": examples["weight"],
                "max_activation": self._kept.strengths_of(examples["pair"]).astype(np.float64),
                "positions": _lists(lengths, (positions + np.repeat(context, lengths)).astype(np.uint8)),
                "activations": _lists(lengths, values),
                "mark_positions": _mark_lists(examples["marks"], context),
            }
        )

    def _strata(self, draws: Draws) -> pa.Table:
        parts = [
            pa.table(
                {
                    **self._constant(len(features), "evidence_set_id"),
                    "feature_index": pa.array(features + draws.start, pa.int32()),
                    "split": [split] * len(features),
                    "stratum": [stratum] * len(features),
                    "n_tiles": pa.array(n_tiles, pa.int64()),
                    "n_sampled": pa.array(n_sampled, pa.int64()),
                    "n_near_copies": pa.array(n_copies, pa.int64()),
                }
            )
            for features, split, stratum, n_tiles, n_sampled, n_copies in draws.strata
        ]
        return pa.concat_tables(parts) if parts else pa.table({})

    def _windows(self, rows: NDArray[np.int64], batch: pa.RecordBatch) -> pa.Table:
        own = rows[self._used[rows]]
        tiles = batch.filter(pa.array(self._used[rows]))
        plain = ("source", "document_name", "tile_index", "text", "token_starts", "n_context_tokens")
        return pa.table(
            {
                **self._constant(len(own), "evidence_set_id"),
                "window_id": self._names.take(pa.array(own)),
                "document_id": _names(tiles["document"].to_numpy()),
                "source_document_id": _names(tiles["source_document"].to_numpy()),
                "split": _words(SPLITS, tiles["split"].to_numpy()),
                **{name: tiles[name] for name in plain},
                "token_ids": tiles["token_ids"] if self._has_token_ids else pa.nulls(len(own), pa.list_(pa.int32())),
                **self._fired(own),
            }
        )

    def _fired(self, rows: NDArray[np.int64]) -> dict[str, pa.Array]:
        """What fires in each window of the background sample, NULL for the other windows."""
        found: list[tuple[Any, Any, Any]] = [(None, None, None)] * len(rows)
        for background in self._kept.background.values():
            places = np.flatnonzero(np.isin(background.rows, rows))
            for place in places.tolist():
                row = int(background.rows[place])
                at = slice(background.by_tile.indptr[place], background.by_tile.indptr[place + 1])
                peaks = (background.peaks[at] + self._kept.n_context_tokens[row]).astype(np.uint8)
                found[int(np.searchsorted(rows, row))] = (background.by_tile.indices[at], background.by_tile.data[at], peaks)
        kinds = {"fired_features": pa.int32(), "fired_max": pa.float32(), "fired_peak": pa.uint8()}
        return {name: pa.array([one[i] for one in found], pa.list_(kind)) for i, (name, kind) in enumerate(kinds.items())}


def _upper(fired: NDArray[np.int64], n_tiles: int) -> NDArray[np.float64]:
    """95% upper bound of the firing rate (Clopper–Pearson); the rule of three, 3/n, where nothing fired."""
    exact = scipy.stats.beta.ppf(0.975, fired + 1, np.maximum(n_tiles - fired, 1e-9))
    upper: NDArray[np.float64] = np.where(fired == 0, np.minimum(3 / max(n_tiles, 1), 1.0), np.minimum(exact, 1.0))
    return upper


def _or_null(values: NDArray[np.float64], tokens: NDArray[np.int64]) -> pa.Array:
    return pa.array(values, mask=tokens == 0)


def _names(words: NDArray[np.uint64]) -> pa.Array:
    """64-bit words as 16 hex digits."""
    digits = binascii.hexlify(words.astype(">u8").tobytes())
    offsets = np.arange(0, 16 * len(words) + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer(digits))


def _words(words: Sequence[str], numbers: NDArray[Any]) -> pa.Array:
    """The word of each number, NULL for negative ones."""
    return pa.array(words).take(pa.array(numbers.astype(np.int32), mask=numbers < 0))


def _lists(lengths: NDArray[np.int64], flat: NDArray[Any]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _mark_lists(marks: NDArray[np.uint32], context: NDArray[np.int64]) -> pa.Array:
    """The set bits of each mask, as tokens of the window."""
    bits = (marks[:, None] >> _TILE_BITS[None, :]) & np.uint32(1)
    rows, positions = np.nonzero(bits)
    return _lists(bits.sum(axis=1).astype(np.int64), (positions + context[rows]).astype(np.uint8))
