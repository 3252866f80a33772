from dataclasses import replace

import pytest

from autolabel.intervals import wilson_bounds
from autolabel.report.audit_results import audit_results, finite_share, lines
from autolabel.store.auditing import Audit, AuditItem

N_TRUSTED, N_HIGH, N_LOW, N_CHECKS = 10, 4, 4, 2
GROUPS = {"trusted": {"n_labels": 40, "n_drawn": 10}, "high": {"n_labels": 30, "n_drawn": 4}, "low": {"n_labels": 90, "n_drawn": 4}}


def made() -> Audit:
    names = ["trusted"] * N_TRUSTED + ["high"] * N_HIGH + ["low"] * N_LOW + ["check"] * N_CHECKS
    p = {"trusted": 0.9, "high": 0.6, "low": 0.2, "check": None}
    items = [
        AuditItem(i, i, f"l{i}", "x", "check" if name == "check" else "label", name, p[name], ("w",))
        for i, name in enumerate(names, start=1)
    ]
    return Audit("a" * 32, "e", 0, GROUPS, tuple(items))


def verdicts(**changed: str) -> dict[int, str]:
    """Trusted labels are right, high ones half so, low ones wrong, checks wrong; `i3="wrong"` changes item 3."""
    given = dict.fromkeys(range(1, 11), "right") | {11: "right", 12: "right", 13: "too broad", 14: "too narrow"}
    given |= dict.fromkeys(range(15, 21), "wrong")
    return given | {int(name[1:]): verdict for name, verdict in changed.items()}


def test_groups_fail_when_any_rater_says_so() -> None:
    found = audit_results(made(), {"ann": verdicts(), "bob": verdicts(i3="too narrow", i4="cannot tell")})
    trusted, high, low = found.groups
    assert (trusted.failed.value, trusted.failed.n, trusted.n_untold) == (0.1, 10, 0)
    assert (high.failed.value, low.failed.value) == (0.5, 1.0)
    assert found.others.value == pytest.approx((30 * 0.5 + 90 * 1.0) / 120), "groups weigh by how many labels they stand for"
    assert found.others.low is not None
    assert found.others.low < found.others.value


def test_what_no_rater_can_tell_is_left_out_and_counted() -> None:
    found = audit_results(made(), {"ann": verdicts(i1="cannot tell")})
    assert (found.groups[0].n_untold, found.groups[0].failed.n) == (1, 9)
    assert "1 that nobody could tell" in "\n".join(lines(found))


def test_each_rater_is_seen_alone_and_checks_are_counted() -> None:
    found = audit_results(made(), {"ann": verdicts(), "bob": verdicts(i3="wrong", i19="right", i20="cannot tell")})
    ann, bob = found.raters
    assert (ann.failed_trusted.value, bob.failed_trusted.value) == (0.0, 0.1)
    assert (ann.failed_others.value, ann.failed_others.n) == (6 / 8, 8)
    assert (ann.missed_checks.value, bob.missed_checks.value) == (0.0, 0.5)


def test_agreement_is_about_labels_not_checks() -> None:
    found = audit_results(made(), {"ann": verdicts(), "bob": verdicts(i19="right", i20="right")})
    ((one, two, kappa),) = found.kappas
    assert (one, two, kappa.value, kappa.n) == ("ann", "bob", 1.0, 18)
    assert found.alpha.value == 1.0
    worse = audit_results(made(), {"ann": verdicts(), "bob": verdicts(i1="wrong", i2="wrong", i15="right")})
    assert worse.kappas[0][2].value == pytest.approx((15 / 18 - (12 * 11 + 6 * 7) / 18**2) / (1 - (12 * 11 + 6 * 7) / 18**2))


def test_p_correct_is_held_against_the_verdicts() -> None:
    found = audit_results(made(), {"ann": verdicts()})
    assert found.n_with_p == 18
    assert found.brier == pytest.approx((10 * 0.01 + 2 * 0.16 + 2 * 0.36 + 4 * 0.04) / 18)
    assert [(one.said, one.seen, one.n) for one in found.bins] == [
        (pytest.approx(0.2), 0.0, 4),
        (pytest.approx(0.6), 0.5, 4),
        (pytest.approx(0.9), 1.0, 10),
    ]


def test_without_p_correct_or_raters_the_words_say_so() -> None:
    audit = made()
    assert "nobody has answered yet" in lines(audit_results(audit, {}))[-1]
    without = replace(audit, items=tuple(replace(item, p_correct=None) for item in audit.items))
    said = "\n".join(lines(audit_results(without, {"ann": verdicts()})))
    assert "p_correct: no label that was judged has one" in said
    assert "one rater only" in said
    assert "kappa" not in said


def test_a_share_of_a_finite_group() -> None:
    alone = finite_share(1, 10, 10_000)
    half = finite_share(1, 10, 20)
    every = finite_share(1, 10, 10)
    assert alone.value == half.value == every.value == 0.1
    assert alone.high is not None
    assert half.high is not None
    assert half.high < alone.high, "half of the group is known, so less is left to chance"
    assert (half.low, half.high) == wilson_bounds(0.1, 10 * 19 / 10)
    assert (every.low, every.high) == wilson_bounds(0.1, 10)
    assert finite_share(0, 0, 5).value is None
