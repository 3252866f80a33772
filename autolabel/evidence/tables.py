"""Collected evidence as rows of the store, and the hash that says two collections found the same."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.stats
from numpy.typing import NDArray

from autolabel.evidence.collector import Counts
from autolabel.evidence.draws import FeatureDraw
from autolabel.evidence.kept import Kept
from autolabel.records import SPLITS

TOP_TOKENS = 10
_FIXED_POINT = 2.0**16


def evidence_tables(evidence_set_id: str, sae_id: str, counts: Counts, kept: Kept, draws: list[FeatureDraw]) -> dict[str, pa.Table]:
    """The tables `features`, `windows`, `examples` and `strata` of an evidence set, without `run_id`."""
    return {
        "features": _features(evidence_set_id, sae_id, counts, kept, draws),
        "windows": _windows(evidence_set_id, kept, draws),
        "examples": _examples(evidence_set_id, kept, draws),
        "strata": _strata(evidence_set_id, draws),
    }


def evidence_hash(tables: dict[str, pa.Table]) -> str:
    """sha256 over all values, rows in their canonical order: equal evidence has equal hashes."""
    digest = hashlib.sha256()
    for name in sorted(tables):
        for column_name, column in zip(tables[name].column_names, tables[name].columns, strict=True):
            digest.update(f"{name}.{column_name}".encode())
            _hash_values(digest, column.combine_chunks())
    return digest.hexdigest()


def _hash_values(digest: Any, values: pa.Array) -> None:
    """Feed the values of an array and where they are NULL; lists and texts by their lengths and then their content."""
    digest.update(np.packbits(values.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_list(values.type):
        digest.update(pc.list_value_length(values).fill_null(0).to_numpy().tobytes())
        _hash_values(digest, pc.list_flatten(values))
    elif pa.types.is_string(values.type):
        digest.update(pc.binary_length(values).fill_null(0).to_numpy().tobytes())
        digest.update("".join(values.drop_null().to_pylist()).encode())
    else:
        zero = pa.scalar(False if pa.types.is_boolean(values.type) else 0, values.type)
        digest.update(values.fill_null(zero).to_numpy(zero_copy_only=False).tobytes())


def _features(evidence_set_id: str, sae_id: str, counts: Counts, kept: Kept, draws: list[FeatureDraw]) -> pa.Table:
    n_features = len(draws)
    fired = np.sum([counts.tiles[split] for split in SPLITS], axis=0)
    n_tiles = sum(counts.all_tiles.values())
    mass = [_token_mass(draw, kept) for draw in draws]
    return pa.table(
        {
            "evidence_set_id": [evidence_set_id] * n_features,
            "sae_id": [sae_id] * n_features,
            "feature_index": pa.array(range(n_features), pa.int32()),
            "evidence_status": [draw.status for draw in draws],
            "n_tokens_fired": counts.tokens,
            "n_tiles_fired": fired,
            **{f"n_tiles_fired_{split}": counts.tiles[split] for split in SPLITS},
            "n_contexts_fired": counts.contexts,
            "firing_rate": fired / n_tiles,
            "firing_rate_high": _upper(fired, n_tiles),
            "density": counts.tokens / max(counts.all_tokens, 1),
            "max_activation": _or_null(counts.largest.astype(np.float64), counts.tokens),
            "mean_activation": _or_null(counts.sums / _FIXED_POINT / np.maximum(counts.tokens, 1), counts.tokens),
            "firing_threshold": [draw.threshold for draw in draws],
            "histogram": pa.array(list(counts.histogram), pa.list_(pa.int64())),
            "top_tokens": [None if m is None else json.dumps(m[0], ensure_ascii=False) for m in mass],
            "token_entropy": pa.array([None if m is None else m[1] for m in mass], pa.float64()),
            "neighbours": pa.array([draw.neighbours for draw in draws], pa.list_(pa.int32())),
        }
    )


def _upper(fired: NDArray[np.int64], n_tiles: int) -> NDArray[np.float64]:
    """95% upper bound of the firing rate (Clopper–Pearson); the rule of three, 3/n, where nothing fired."""
    exact = scipy.stats.beta.ppf(0.975, fired + 1, np.maximum(n_tiles - fired, 1e-9))
    upper: NDArray[np.float64] = np.where(fired == 0, np.minimum(3 / max(n_tiles, 1), 1.0), np.minimum(exact, 1.0))
    return upper


def _or_null(values: NDArray[np.float64], tokens: NDArray[np.int64]) -> pa.Array:
    return pa.array(values, mask=tokens == 0)


def _token_mass(draw: FeatureDraw, kept: Kept) -> tuple[list[dict[str, Any]], float] | None:
    """Which tokens carry the feature's activation in its uniform train sample: the top ones, and the entropy in bits."""
    mass: dict[str, float] = {}
    n = 0
    for example in draw.drawn("train", "firing"):
        text, starts = kept.texts[example.row], kept.token_starts[example.row]
        ends = np.append(starts[1:], len(text))
        for position, value in zip(example.firing.positions.tolist(), example.firing.values.tolist(), strict=True):
            token = text[starts[position] : ends[position]]
            mass[token] = mass.get(token, 0.0) + value
            n += 1
    total = sum(mass.values())
    if total == 0:
        return None
    shares = sorted(((value / total, token) for token, value in mass.items()), key=lambda pair: (-pair[0], pair[1]))
    top = [{"token": token, "share": round(share, 4), "n": n} for share, token in shares[:TOP_TOKENS]]
    return top, float(-sum(share * np.log2(share) for share, _ in shares)) + 0.0


def _windows(evidence_set_id: str, kept: Kept, draws: list[FeatureDraw]) -> pa.Table:
    drawn = np.array([example.row for draw in draws for example in draw.examples], dtype=np.int64)
    rows = np.unique(np.concatenate([drawn, *(background.rows for background in kept.background.values())]))
    tiles = kept.tiles.take(pa.array(rows))
    plain = ("source", "split", "tile_index", "text", "token_starts", "token_ids", "n_context_tokens")
    return pa.table(
        {
            "evidence_set_id": [evidence_set_id] * len(rows),
            "window_id": _names(tiles["tile"].to_numpy()),
            "document_id": _names(tiles["document"].to_numpy()),
            "source_document_id": _names(tiles["source_document"].to_numpy()),
            **{name: tiles[name] for name in plain},
            **_fired(rows, kept),
        }
    )


def _fired(rows: NDArray[np.int64], kept: Kept) -> dict[str, pa.Array]:
    """What fires in each window of the background sample, NULL for the other windows."""
    background_of = {row: background for background in kept.background.values() for row in background.rows.tolist()}
    found = [background_of[row].active(row) if row in background_of else (None, None, None) for row in rows.tolist()]
    kinds = {"fired_features": pa.int32(), "fired_max": pa.float32(), "fired_peak": pa.uint8()}
    return {name: pa.array([f[i] for f in found], pa.list_(kind)) for i, (name, kind) in enumerate(kinds.items())}


def _examples(evidence_set_id: str, kept: Kept, draws: list[FeatureDraw]) -> pa.Table:
    drawn = [(draw.feature, example) for draw in draws for example in draw.examples]
    names = _names(kept.column("tile"))
    return pa.table(
        {
            "evidence_set_id": [evidence_set_id] * len(drawn),
            "feature_index": pa.array([feature for feature, _ in drawn], pa.int32()),
            "window_id": pa.array([names[e.row] for _, e in drawn], pa.string()),
            "split": pa.array([e.split for _, e in drawn], pa.string()),
            "kind": pa.array([e.kind for _, e in drawn], pa.string()),
            "stratum": pa.array([e.stratum for _, e in drawn], pa.string()),
            "in_exam": pa.array([e.in_exam for _, e in drawn], pa.bool_()),
            "sample_rank": pa.array([e.sample_rank for _, e in drawn], pa.int32()),
            "quantile": pa.array([e.quantile for _, e in drawn], pa.int32()),
            "inclusion_weight": pa.array([e.inclusion_weight for _, e in drawn], pa.float64()),
            "max_activation": pa.array([e.firing.largest for _, e in drawn], pa.float64()),
            "positions": _lists((e.firing.positions for _, e in drawn), pa.uint8()),
            "activations": _lists((e.firing.values for _, e in drawn), pa.float32()),
            "mark_positions": pa.array([list(e.marks) for _, e in drawn], pa.list_(pa.uint8())),
        }
    )


def _strata(evidence_set_id: str, draws: list[FeatureDraw]) -> pa.Table:
    rows = [(draw.feature, count) for draw in draws for count in draw.strata]
    return pa.table(
        {
            "evidence_set_id": [evidence_set_id] * len(rows),
            "feature_index": pa.array([feature for feature, _ in rows], pa.int32()),
            "split": pa.array([count.split for _, count in rows], pa.string()),
            "stratum": pa.array([count.stratum for _, count in rows], pa.string()),
            "n_tiles": pa.array([count.n_tiles for _, count in rows], pa.int64()),
            "n_sampled": pa.array([count.n_sampled for _, count in rows], pa.int64()),
            "n_near_copies": pa.array([count.n_near_copies for _, count in rows], pa.int64()),
        }
    )


def _names(words: Iterable[int]) -> list[str]:
    """64-bit words as 16 hex digits."""
    return [f"{int(word):016x}" for word in words]


def _lists(arrays: Iterable[NDArray[Any]], kind: pa.DataType) -> pa.Array:
    pieces = list(arrays)
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int32)
    flat = np.concatenate(pieces) if pieces else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind))
