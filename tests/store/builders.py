"""Small rows for tests that need a filled database. Every builder takes what matters and fills in the rest."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from autolabel.store.connection import Database
from autolabel.store.run_store import RunStore

SAE, CORPUS, EVIDENCE, CONFIG = "sae-1", "corpus-1", "evidence-1", "config-detection"
T0 = datetime(2026, 1, 2, 3, 4, 5)
WORDS = ("the ", "dog ", "and ", "the ", "cat ", "sat ", "<<down>> ", "<b>here</b>")
Row = dict[str, Any]


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def sae(**changes: Any) -> Row:
    row = {
        "sae_id": SAE,
        "name": "toy",
        "kind": "sae",
        "format": "native",
        "subject_model": "toy-lm",
        "hookpoint_in": "layers.1",
        "architecture": "topk",
        "d_model": 16,
        "d_sae": 6,
        "config": {"k": 4},
        "created_utc": T0,
    }
    return row | changes


def corpus(**changes: Any) -> Row:
    row = {
        "corpus_id": CORPUS,
        "name": "speeches",
        "sources": [{"name": "sotu", "documents": 60}],
        "n_source_documents": 60,
        "n_documents": 60,
        "n_duplicates": 0,
        "n_tokens": 6_400,
        "unseen_by_labeler": "unknown",
        "unseen_by_sae": "yes",
        "unseen_by_subject": "no",
        "created_utc": T0,
    }
    return row | changes


def evidence_set(**changes: Any) -> Row:
    row = {
        "evidence_set_id": EVIDENCE,
        "sae_id": SAE,
        "corpus_id": CORPUS,
        "settings": {"tile_tokens": 32},
        "seed": 0,
        "n_tokens": 6_400,
        "n_excluded_tokens": 3,
        "n_contexts": 50,
        "n_tiles": 200,
        "n_tiles_train": 100,
        "n_tiles_validation": 40,
        "n_tiles_test": 60,
        "gate": {"fvu": 0.3},
        "gate_forced": False,
        "fvu": 0.3,
        "fvu_median": 0.31,
        "l0": 4.0,
        "evidence_hash": "e",
        "created_utc": T0,
    }
    return row | changes


def feature(index: int, **changes: Any) -> Row:
    row = {
        "evidence_set_id": EVIDENCE,
        "sae_id": SAE,
        "feature_index": index,
        "evidence_status": "alive",
        "n_tokens_fired": 40,
        "n_tiles_fired": 20,
        "n_tiles_fired_train": 10,
        "n_tiles_fired_validation": 4,
        "n_tiles_fired_test": 6,
        "n_contexts_fired": 15,
        "firing_rate": 0.1,
        "firing_rate_high": 0.15,
        "density": 0.00625,
        "max_activation": 9.5,
        "mean_activation": 3.25,
        "firing_threshold": 0.0,
        "histogram": [0] * 30 + [20, 15, 5],
        "top_tokens": [{"token": " dog", "share": 0.8, "n": 16}],
        "token_entropy": 0.7,
        "neighbours": [1, 2],
    }
    return row | changes


def silent(index: int) -> Row:
    counts = {name: 0 for name in feature(0) if name.startswith("n_")}
    return feature(
        index,
        evidence_status="silent",
        firing_rate=0.0,
        firing_rate_high=0.015,
        density=0.0,
        max_activation=None,
        mean_activation=None,
        histogram=[0] * 64,
        top_tokens=[],
        token_entropy=None,
        neighbours=[],
        **counts,
    )


def window(window_id: str, split: str, words: tuple[str, ...] = WORDS, **changes: Any) -> Row:
    starts = [sum(map(len, words[:i])) for i in range(len(words))]
    row = {
        "evidence_set_id": EVIDENCE,
        "window_id": window_id,
        "document_id": f"doc-{window_id}",
        "source_document_id": f"src-{window_id}",
        "source": "sotu",
        "split": split,
        "tile_index": 0,
        "text": "".join(words),
        "token_starts": starts,
        "token_ids": list(range(len(words))),
        "n_context_tokens": 2,
    }
    return row | changes


def example(index: int, window_id: str, split: str, kind: str = "firing", **changes: Any) -> Row:
    fires = kind in ("firing", "strongest")
    row = {
        "evidence_set_id": EVIDENCE,
        "feature_index": index,
        "window_id": window_id,
        "split": split,
        "kind": kind,
        "stratum": "firing" if fires else "random",
        "in_exam": split != "train",
        "sample_rank": 0,
        "quantile": 0 if fires else None,
        "inclusion_weight": 1.0,
        "max_activation": 5.5 if fires else 0.0,
        "positions": [3, 4] if fires else [],
        "activations": [2.5, 5.5] if fires else [],
        "mark_positions": [3, 4] if fires else [5],
    }
    return row | changes


def stratum(index: int, split: str, name: str, **changes: Any) -> Row:
    row = {
        "evidence_set_id": EVIDENCE,
        "feature_index": index,
        "split": split,
        "stratum": name,
        "n_tiles": 6,
        "n_sampled": 1,
        "n_near_copies": 2,
    }
    return row | changes


def label(index: int, name: str = "a", **changes: Any) -> Row:
    row = {
        "label_id": f"label-{index}-{name}",
        "evidence_set_id": EVIDENCE,
        "sae_id": SAE,
        "feature_index": index,
        "status": "ok",
        "text": f"words about pets, {index}{name}",
        "method": "explain",
        "origin": "run",
        "round": 0,
        "prompt_hash": "sha256:p",
        "model_requested": "big",
        "model_served": "big-1",
        "request_hash": f"request-{index}",
        "sample_number": 0,
        "shown_window_ids": ["w-train"],
        "created_utc": at(1),
    }
    return row | changes


def choice(index: int, label_id: str | None, verdict: str = "labelled", **changes: Any) -> Row:
    row = {
        "choice_id": f"choice-{index}",
        "evidence_set_id": EVIDENCE,
        "sae_id": SAE,
        "feature_index": index,
        "label_id": label_id,
        "verdict": verdict,
        "reason": "best on validation",
        "validation_score": 0.8 if label_id else None,
        "scorer": "detection",
        "chosen_by": "run",
        "created_utc": at(2),
    }
    return row | changes


def prediction(index: int, label_id: str, window_id: str, value: float | None, **changes: Any) -> Row:
    row = {
        "label_id": label_id,
        "evidence_set_id": EVIDENCE,
        "feature_index": index,
        "scorer": "detection",
        "config_hash": CONFIG,
        "split": "test",
        "window_id": window_id,
        "value": value,
        "status": "ok",
        "created_utc": at(3),
    }
    return row | changes


def score(index: int, label_id: str, metric: str, value: float | None, **changes: Any) -> Row:
    row = {
        "label_id": label_id,
        "evidence_set_id": EVIDENCE,
        "sae_id": SAE,
        "feature_index": index,
        "is_null": False,
        "scorer": "detection",
        "judge": "judge-1",
        "answer_mode": "probability",
        "judge_status": "admitted",
        "config_hash": CONFIG,
        "prompt_hash": "sha256:p",
        "split": "test",
        "metric": metric,
        "value": value,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else min(1.0, value + 0.1),
        "n": 60,
        "n_failed": 1,
        "chance": 0.0,
        "created_utc": at(4),
    }
    row |= changes
    named = [str(row[part]) for part in ("label_id", "feature_index", "scorer", "config_hash", "split", "metric")]
    return {"score_id": "/".join(named)} | row


def call(request_hash: str, reply: Any, **changes: Any) -> Row:
    row = {
        "request_hash": request_hash,
        "kind": "chat",
        "endpoint_id": "local",
        "model_requested": "big",
        "model_served": "big-1",
        "reply": reply,
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "completion_tokens": 10,
        "created_utc": at(1),
    }
    return row | changes


def attempt(request_hash: str, **changes: Any) -> Row:
    row = {
        "attempt_id": f"attempt-{request_hash}",
        "request_hash": request_hash,
        "stage": "label",
        "endpoint_id": "local",
        "via": "local",
        "model_requested": "big",
        "status": "ok",
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "completion_tokens": 10,
        "charged_tokens": 110,
        "cost_usd": 0.01,
        "latency_ms": 12.5,
        "started_utc": at(1),
    }
    return row | changes


def scored_rows(index: int, value: float) -> Mapping[str, list[Row]]:
    """A labelled feature: its label, choice, test answers, scores under three scorers, two nulls and two baselines."""
    own, lexical, lookup = f"label-{index}-a", f"label-{index}-lexical", f"label-{index}-lookup"
    fuzzing = {"scorer": "fuzzing", "config_hash": "config-fuzzing", "answer_mode": "binary"}
    rule = {"scorer": "rule", "judge": "rule", "config_hash": "config-rule", "answer_mode": "binary", "judge_status": "not_needed"}
    others = [other for other in (0, 1, 2) if other != index]
    labels = [
        label(index),
        *(
            label(index, name, method=method, origin="baseline", shown_window_ids=[])
            for name, method in (("lexical", "lexical"), ("lookup", "token_lookup"))
        ),
    ]
    answers = [("w-test-0", 0.9), ("w-test-1", 0.2), ("w-test-2", 0.1)]
    return {
        "labels": labels,
        "choices": [choice(index, own)],
        "predictions": [
            *(prediction(index, own, where, said) for where, said in answers),
            *(prediction(index, lexical, where, said) for where, said in answers),
            *(prediction(index, own, where, said, scorer="fuzzing", config_hash="config-fuzzing") for where, said in answers),
            *(prediction(index, lookup, where, said, scorer="rule", config_hash="config-rule") for where, said in answers),
        ],
        "scores": [
            score(index, own, "label_score", value),
            score(index, own, "auroc", 0.9),
            score(index, own, "lift_null", value - 0.05),
            score(index, own, "beyond_token", value - 0.3),
            score(index, own, "auroc", 0.8, chance=0.5, **fuzzing),
            score(index, lexical, "label_score", 0.4),
            score(index, lookup, "label_score", 0.3, **rule),
            *(score(index, f"label-{other}-a", "label_score", 0.05 * other, is_null=True) for other in others),
        ],
        "llm_attempts": [attempt(f"request-{index}", feature_index=index)],
        "llm_calls": [call(f"request-{index}", {"text": "pets"})],
    }


def fill(store: RunStore) -> None:
    """Six features: 0, 1 and 2 labelled, 3 failed, 4 silent, 5 pending."""
    splits = {"train": ["w-train"], "validation": ["w-val-0", "w-val-1"], "test": ["w-test-0", "w-test-1", "w-test-2"]}
    store.append("prompts", [{"prompt_hash": "sha256:p", "role": "explain", "version": 1, "body": "Say what it means."}])
    store.append("saes", [sae()])
    store.append("corpora", [corpus()])
    store.append("evidence_sets", [evidence_set()])
    rates = [0.1, 0.02, 0.3, 0.05, 0.0, 0.004]
    store.append("features", [silent(i) if i == 4 else feature(i, firing_rate=rate) for i, rate in enumerate(rates)])
    store.append("windows", [window(name, split) for split, names in splits.items() for name in names])
    for index in (0, 1, 2, 3, 5):
        store.append(
            "examples",
            [
                example(index, "w-train", "train", "strongest"),
                *(
                    example(index, name, split, "firing" if rank == 0 else "background", sample_rank=rank)
                    for split in ("validation", "test")
                    for rank, name in enumerate(splits[split])
                ),
            ],
        )
        store.append("strata", [stratum(index, split, name) for split in ("validation", "test") for name in ("firing", "random")])
    for index, value in enumerate((0.9, 0.6, 0.2)):
        for table, rows in scored_rows(index, value).items():
            store.append(table, rows)
    store.append("labels", [label(3, status="unparsable", text=None, error="the reply is empty")])
    store.append("llm_attempts", [attempt("request-3", feature_index=3, status="unparsable", error="the reply is empty")])


def make_database(folder: Path, *, name: str = "labels.duckdb") -> Path:
    """A small, plausible, finished database; `autolabel.store.maintenance.check` finds nothing wrong with it."""
    path = folder / name
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {"seed": 0}, "config-run", 0)
        fill(store)
        store.finish_run("done")
    return path


def add(path: Path, run_id: str = "run-2", **tables: list[Row]) -> Database:
    """Add rows to a database as another run."""
    with RunStore.open(path, run_id) as store:
        store.start_run("score", {}, "config-run", 0)
        for table, rows in tables.items():
            store.append(table, rows)
        store.finish_run("done")
    return Database(path)


def rows(path: Path, sql: str) -> list[dict[str, Any]]:
    with Database(path).read() as connection:
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return found
