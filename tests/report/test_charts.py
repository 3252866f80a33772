from hypothesis import given
from hypothesis import strategies as st

from autolabel.report import charts

SCORES = st.lists(st.floats(-0.5, 1.0), min_size=1, max_size=50)


@given(SCORES, SCORES)
def test_every_score_is_in_one_bar_and_no_bar_leaves_the_frame(scores: list[float], nulls: list[float]) -> None:
    drawn = charts.histogram(scores, nulls)
    assert (sum(bar.n for bar in drawn.bars), sum(bar.n_null for bar in drawn.bars)) == (len(scores), len(nulls))
    for bar in drawn.bars:
        assert charts.LEFT <= bar.x <= bar.x + bar.width <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= bar.y <= bar.y + bar.height <= charts.HEIGHT - charts.BOTTOM + 0.1


def test_no_nulls_no_outline() -> None:
    assert charts.histogram([0.5], []).null_outline == ""


def row(index: int, rate: float, score: float | None) -> dict[str, object]:
    return {"feature_index": index, "firing_rate": rate, "label_score": score, "label_score_low": score, "label_score_high": score}


def test_points_are_drawn_or_counted() -> None:
    rows = [row(i, 10 ** -(1 + i % 5), 0.5) for i in range(charts.MAX_POINTS + 7)]
    drawn = charts.scatter([*rows, row(-1, 0.1, None)])
    assert (len(drawn.points), drawn.n_left_out, drawn.has_whiskers) == (charts.MAX_POINTS, 7, False)
    assert all(charts.LEFT <= p.x <= charts.WIDTH - charts.RIGHT for p in drawn.points)


def test_nothing_to_draw() -> None:
    assert charts.scatter([]).points == ()
    assert sum(bar.n for bar in charts.histogram([], []).bars) == 0
