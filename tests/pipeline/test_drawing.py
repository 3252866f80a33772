"""Which tiles a judge is asked about where not all."""

from dataclasses import replace

from autolabel.hashing import content_id
from autolabel.pipeline.drawing import inclusion, judged_part
from autolabel.records import STRATA, Example
from autolabel.scorers.base import ScorerInfo

WHOLE = ScorerInfo("detection", "a judge", "probability")
PART = replace(WHOLE, tiles_per_group=12)
EXAM = [
    Example(content_id("window", [group, i]), "d", "d", i, "test", "background", group, "x", (0,), 0, in_exam=True)
    for group in STRATA
    for i in range(20 if group != "hard" else 8)
]


def test_as_many_of_each_group_as_wanted_in_the_exams_order() -> None:
    drawn = judged_part(PART, EXAM)
    assert [sum(example.stratum == group for example in drawn) for group in STRATA] == [12, 8, 12]
    assert list(drawn) == [example for example in EXAM if example in drawn]
    assert inclusion(PART, EXAM) == {"firing": 0.6, "hard": 1.0, "random": 0.6}


def test_the_draw_depends_on_windows_alone() -> None:
    assert set(judged_part(PART, EXAM[::-1])) == set(judged_part(PART, EXAM))
    more = replace(PART, tiles_per_group=13)
    assert set(judged_part(PART, EXAM)) < set(judged_part(more, EXAM))


def test_a_scorer_of_whole_exams_is_asked_about_all_and_named_as_ever() -> None:
    assert judged_part(WHOLE, EXAM) == tuple(EXAM)
    assert inclusion(WHOLE, EXAM) is None
    assert WHOLE.config_hash != PART.config_hash
