"""How an estimate reads."""

import io
from typing import Any

import pytest

from autolabel.pipeline.costs import CostEstimate, CostRow
from autolabel.report.costs import print_estimate, summary
from autolabel.report.terminal import console


def row(stage: str = "score", **changes: Any) -> CostRow:
    usual: dict[str, Any] = {
        "stage": stage,
        "endpoint_id": "https://api.openai.com/v1",
        "model": "gpt-4.1-mini",
        "is_own": False,
        "calls": 1200,
        "calls_error": 0.0,
        "input_tokens": 1_000_000.0,
        "input_error": 250_000.0,
        "input_source": "by the default ratio to bytes",
        "output_tokens": 20_000.0,
        "output_source": "assumed",
        "worst_output_tokens": 40_000.0,
        "usd": 0.432,
        "worst_usd": 0.5,
        "price_source": "2026-11-23, https://example.org",
        "seconds": 7200.0,
    }
    return CostRow(**(usual | changes))


def printed(*rows: CostRow, **changes: Any) -> str:
    out = io.StringIO()
    print_estimate(console(out), CostEstimate(rows, **({"n_features": 5, "n_looked_at": 5} | changes)))
    return out.getvalue()


def test_one_line_says_it_all() -> None:
    said = summary(CostEstimate((row("label", seconds=60.0), row()), 5, 5))
    assert said == ("2,400 calls, 2,000,000 ± 25% input and 40,000 output tokens (80,000 at most), $0.86 ($1.00 at most), 2 h")


def test_what_nobody_knows_is_said_in_words() -> None:
    said = summary(CostEstimate((row(usd=None, worst_usd=None, seconds=None),), 5, 5))
    assert said.endswith("price unknown, time unknown")
    text = printed(row(usd=None, worst_usd=None, price_source="unknown", seconds=None))
    assert "[budget] prices" in text
    assert "Times are unknown until calls" in text


def test_sources_that_differ_name_their_stages() -> None:
    text = printed(row("label"), row("score", input_source="fitted on 1,204 earlier calls"))
    assert "by the default ratio to bytes (label); fitted on 1,204 earlier calls (score)" in text
    assert "Output tokens: assumed; at most" in text


def test_a_sample_is_said_with_its_error() -> None:
    text = printed(row(calls=1234.5, calls_error=25.0), n_features=4096, n_looked_at=200)
    assert "1,234 ± 2%" in text
    assert "Scaled from 200 of 4,096 features; --exact looks at all of them." in text
    assert "Scaled" not in printed(row())


def test_nothing_left_is_said() -> None:
    assert printed() == "nothing is left to ask an LLM\n"
    assert summary(CostEstimate((), 5, 5)) == "nothing is left to ask an LLM"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (90, "90 s"), (150, "2 min"), (7_300, "2 h"), (200_000, "2 days")])
def test_times_have_fitting_units(seconds: float, text: str) -> None:
    assert summary(CostEstimate((row(seconds=seconds),), 1, 1)).endswith(f", {text}")
