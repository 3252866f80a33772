from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.records import Example
from autolabel.report import examples as windows


def example(window_id: str = "w", **changes: Any) -> Example:
    row: dict[str, Any] = {
        "window_id": window_id,
        "document_id": "d",
        "source_document_id": "s",
        "tile_index": 0,
        "split": "test",
        "kind": "firing",
        "stratum": "firing",
        "text": "left a dogs",
        "token_starts": (0, 4, 6, 10),
        "n_context_tokens": 1,
        "in_exam": True,
    }
    return Example(**(row | changes))


def test_pieces_carry_strength_and_context() -> None:
    shown = windows.shown(example(positions=(2, 3), activations=(1.0, 10.0), max_activation=10.0), 10.0)
    assert [(p.text, p.is_context, p.strength) for p in shown.pieces] == [
        ("left", True, 0),
        (" a", False, 0),
        (" ", False, 0),
        ("dog", False, 1),
        ("s", False, 10),
    ]


@given(st.lists(st.text(max_size=4), min_size=1, max_size=8), st.data())
def test_pieces_join_to_the_text(tokens: list[str], data: st.DataObject) -> None:
    starts = tuple(sum(map(len, tokens[:i])) for i in range(len(tokens)))
    positions = tuple(sorted(data.draw(st.sets(st.integers(0, len(tokens) - 1)))))
    context = data.draw(st.integers(0, len(tokens)))
    drawn = example(
        text="".join(tokens),
        token_starts=starts,
        n_context_tokens=context,
        positions=positions,
        activations=tuple(1.0 + i for i in positions),
        max_activation=9.0,
    )
    shown = windows.shown(drawn, 9.0)
    assert "".join(piece.text for piece in shown.pieces) == "".join(tokens)
    assert not positions or not drawn.text[starts[positions[-1]] :] or any(piece.strength for piece in shown.pieces)


def exam() -> list[Example]:
    firing = [example(f"f{i}", max_activation=9.0 - i) for i in range(2)]
    return [*firing, example("h", kind="neighbour", stratum="hard"), example("r", kind="background", stratum="random")]


def said(**values: float | None) -> dict[str, dict[str, Any]]:
    return {w: {"value": v, "status": "ok" if v is not None else "refused"} for w, v in values.items()}


@pytest.mark.parametrize("mode", ["probability", "binary"])
def test_one_half_means_it_fires(mode: str) -> None:
    judged = windows.judge(exam(), said(f0=0.5, f1=0.4, h=0.6, r=0.0), mode)
    assert {w: j.right for w, j in judged.items()} == {"f0": True, "f1": False, "h": False, "r": True}


def test_a_rating_fires_when_among_the_highest() -> None:
    judged = windows.judge(exam(), said(f0=-1.0, f1=-9.0, h=-2.0, r=-3.0), "rating")
    assert {w: j.right for w, j in judged.items()} == {"f0": True, "f1": False, "h": False, "r": True}
    assert judged["h"].said == "rank 2 of 4"


def test_no_answer_is_neither_right_nor_wrong() -> None:
    judged = windows.judge(exam(), said(f0=0.9, f1=None, h=0.1, r=0.1), "probability")
    assert (judged["f1"].right, judged["f1"].said) == (None, "no usable answer (refused)")
    assert [(t.stratum, t.n_right, t.n_judged, t.n_unanswered) for t in windows.tally(exam(), judged)] == [
        ("firing", 1, 1, 1),
        ("hard", 1, 1, 0),
        ("random", 1, 1, 0),
    ]


def test_wrong_judgements_come_first() -> None:
    judged = windows.judge(exam(), said(f0=0.9, f1=0.9, h=0.1, r=0.8), "probability")
    assert [e.window_id for e in windows.not_firing(exam(), judged)] == ["r", "h"]


def test_firing_tiles_spread_from_strong_to_weak() -> None:
    tiles = [example(f"f{i}", max_activation=float(i)) for i in range(10)]
    assert [e.max_activation for e in windows.across_strengths(tiles)] == [9.0, 6.0, 3.0, 0.0]
    assert windows.across_strengths([]) == []
