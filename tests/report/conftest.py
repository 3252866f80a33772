"""Filled, empty and failed databases, and one whose text is hostile."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autolabel.store.run_store import RunStore
from tests.store import builders as b

HOSTILE = '</style></script><script>alert(1)</script>"><img src=x onerror=alert(2)>\u202e\x1b[31m {{ 7*7 }} | `a` \n# h'


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return b.make_database(tmp_path_factory.mktemp("report"))


@pytest.fixture
def database(_filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(_filled, tmp_path / "labels.duckdb"))


def _made(path: Path, tables: Mapping[str, list[b.Row]]) -> Path:
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {"seed": 0}, "config-run", 0)
        for table, rows in tables.items():
            store.append(table, rows)
        store.finish_run("done")
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Mapping[str, list[b.Row]]], Path]:
    return lambda tables: _made(tmp_path / "made.duckdb", tables)


@pytest.fixture
def empty(make: Callable[[Mapping[str, list[b.Row]]], Path]) -> Path:
    """Evidence that holds no alive feature."""
    return make(
        {
            "saes": [b.sae(d_sae=1)],
            "corpora": [b.corpus()],
            "evidence_sets": [b.evidence_set(fvu=None, l0=None)],
            "features": [b.silent(0)],
        }
    )


@pytest.fixture
def failed(make: Callable[[Mapping[str, list[b.Row]]], Path]) -> Path:
    """Two features, whose labels failed and were given up."""
    return make(
        {
            "saes": [b.sae(d_sae=2)],
            "corpora": [b.corpus()],
            "evidence_sets": [b.evidence_set()],
            "features": [b.feature(0), b.feature(1)],
            "prompts": [{"prompt_hash": "sha256:p", "role": "explain", "version": 1, "body": "x"}],
            "labels": [b.label(0, status="refused", text=None, error="the model would not <i>say</i>")],
            "choices": [b.choice(1, None, "uninterpretable", reason="no label beat its nulls")],
        }
    )


@pytest.fixture
def hostile(make: Callable[[Mapping[str, list[b.Row]]], Path]) -> Path:
    """One labelled feature; everything that can hold text holds markup, quotes, controls and template syntax."""
    words = (HOSTILE, " dog", HOSTILE, "\r\n")
    scores = b.scored_rows(0, 0.4)
    for table in ("labels", "choices", "scores"):
        for row in scores[table]:
            changes = {"text": HOSTILE, "model_served": HOSTILE, "reason": HOSTILE, "judge": HOSTILE}
            row.update({name: text for name, text in changes.items() if row.get(name) is not None})
    scores["scores"][2]["reason"] = None
    return make(
        {
            "saes": [b.sae(d_sae=2, name=HOSTILE, subject_model=HOSTILE, hookpoint_in=HOSTILE)],
            "corpora": [b.corpus(name=HOSTILE)],
            "evidence_sets": [b.evidence_set()],
            "features": [b.feature(0, top_tokens=[{"token": HOSTILE, "share": 1.0, "n": 1}]), b.feature(1)],
            "prompts": [{"prompt_hash": "sha256:p", "role": "explain", "version": 1, "body": HOSTILE}],
            "windows": [b.window("w-train", "train", words), *(b.window(f"w-test-{i}", "test", words) for i in range(3))],
            "examples": [
                b.example(0, "w-train", "train", "strongest", positions=[0, 1], activations=[1.0, 2.0], mark_positions=[]),
                b.example(0, "w-test-0", "test", positions=[1, 3], mark_positions=[]),
                *(b.example(0, f"w-test-{i}", "test", "background", mark_positions=[], sample_rank=i) for i in (1, 2)),
            ],
            **scores,
            "labels": [*scores["labels"], b.label(1, status="failed", text=None, error=HOSTILE)],
        }
    )
