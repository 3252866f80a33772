"""A database with labels to audit: the first are trusted, the rest are not, and two have no score."""

from pathlib import Path

from autolabel.store.run_store import RunStore
from tests.store import builders as b

MODEL = {"model_id": "model-1", "name": "rule", "threshold": 0.8, "parameters": {}}
N_TRUSTED, N_LABELS = 8, 24
HOSTILE = '=HYPERLINK("http://evil")</script><script>alert(1)</script>'


def p_of(index: int) -> float:
    """The p_correct of a label: .9 for trusted ones, falling from .7 for the others."""
    return 0.9 if index < N_TRUSTED else 0.7 - index / 100


def audited_database(folder: Path, text: str = "words about pets") -> Path:
    path = folder / "labels.duckdb"
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {"seed": 0}, "config-run", 0)
        store.append("prompts", [{"prompt_hash": "sha256:p", "role": "explain", "version": 1, "body": "x"}])
        store.append("saes", [b.sae(d_sae=N_LABELS)])
        store.append("corpora", [b.corpus()])
        store.append("evidence_sets", [b.evidence_set()])
        store.append("trust_models", [MODEL])
        store.append("features", [b.feature(index) for index in range(N_LABELS)])
        store.append("windows", [b.window(f"w-test-{i}", "test") for i in range(30)])
        for index in range(N_LABELS):
            store.append("labels", [b.label(index, text=f"{text} {index}")])
            store.append("choices", [b.choice(index, f"label-{index}-a")])
            store.append("examples", _examples(index))
            if index < N_LABELS - 2:
                store.append("predictions", [b.prediction(index, f"label-{index}-a", "w-test-0", 0.5)])
                store.append("scores", [b.score(index, f"label-{index}-a", "label_score", 0.9 - index / 40)])
            store.append("scores", [p_row(index, p_of(index))])
        store.finish_run("done")
    return path


def p_row(index: int, value: float) -> b.Row:
    """A row of `scores` with a p_correct."""
    return b.score(index, f"label-{index}-a", "p_correct", value, scorer="trust", config_hash="model-1", judge_status="not_needed")


def _examples(index: int) -> list[b.Row]:
    firing = [b.example(index, f"w-test-{i}", "test", sample_rank=i, max_activation=12.0 - i, in_exam=i < 9) for i in range(12)]
    silent = [
        b.example(
            index,
            f"w-test-{i}",
            "test",
            "lookalike" if i % 2 else "background",
            stratum="hard" if i % 2 else "random",
            sample_rank=i,
        )
        for i in range(12, 30)
    ]
    return [*firing, *silent]
