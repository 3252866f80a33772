"""What an audit found: how often trusted labels fail, how often the others do, and how far raters and P(correct) can be believed.

The invariant: every share has an interval and says how many verdicts it rests on; `cannot tell` counts for nothing and is counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from autolabel.agreement import cohen_kappa, krippendorff_alpha
from autolabel.intervals import Estimate, unscored, wilson, wilson_bounds
from autolabel.reliability import Bin, brier, calibration_error, reliability
from autolabel.report.auditing import CHECK
from autolabel.store.auditing import Audit, AuditItem

Verdicts = Mapping[str, Mapping[int, str]]
"""Rater → item → verdict."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """Labels of one group, as all raters together see them: a label fails when any rater says that it is not right."""

    name: str
    n_labels: int
    """How many there were to draw from."""
    n_drawn: int
    n_untold: int
    """Of these, labels of which no rater could tell."""
    failed: Estimate


@dataclass(frozen=True, slots=True)
class RaterResult:
    """One rater."""

    rater: str
    n_items: int
    failed_trusted: Estimate
    failed_others: Estimate
    missed_checks: Estimate
    """Share of labels of other features that the rater called right."""


@dataclass(frozen=True, slots=True)
class AuditResults:
    """Everything `autolabel audit show` says."""

    audit: Audit
    groups: tuple[GroupResult, ...]
    others: Estimate
    """Of all labels that are not trusted, the share that fails: groups weighed by their sizes."""
    raters: tuple[RaterResult, ...]
    kappas: tuple[tuple[str, str, Estimate], ...]
    """Of every two raters: Cohen's kappa of right against not right."""
    alpha: Estimate
    """Krippendorff's alpha of all five verdicts."""
    brier: float | None
    calibration_error: float | None
    bins: tuple[Bin, ...]
    n_with_p: int
    """Labels with both a p_correct and a verdict."""


def audit_results(audit: Audit, verdicts: Verdicts) -> AuditResults:
    """What raters' verdicts in force say of an audit."""
    labels = [item for item in audit.items if item.kind != CHECK]
    fails = {item.number: fate for item in labels if (fate := _fails(item.number, verdicts)) is not None}
    groups = tuple(_group(name, counts, labels, fails) for name, counts in audit.groups.items())
    known = [(item.p_correct, not fails[item.number]) for item in labels if item.p_correct is not None and item.number in fails]
    said, right = [p for p, _ in known], [one for _, one in known]
    return AuditResults(
        audit,
        groups,
        _others(groups),
        tuple(_rater(rater, audit, verdicts[rater]) for rater in verdicts),
        tuple((one, two, _kappa(verdicts[one], verdicts[two], labels)) for one, two in combinations(verdicts, 2)),
        krippendorff_alpha([[given[item.number] for given in verdicts.values() if item.number in given] for item in labels]),
        brier(said, right),
        calibration_error(said, right),
        tuple(reliability(said, right)),
        len(known),
    )


def finite_share(k: int, n: int, n_all: int) -> Estimate:
    """A share of `n` labels drawn from `n_all` without replacing: Wilson's interval for n (N − 1) / (N − n) trials, because what was drawn
    is known; where all were, the interval is that of drawing them from more like them."""
    if n == 0:
        return unscored(0, None, "no label of this group has a verdict")
    if n >= n_all:
        return wilson(k, n)
    low, high = wilson_bounds(k / n, n * (n_all - 1) / (n_all - n))
    return Estimate(k / n, low, high, n, None)


def _fails(number: int, verdicts: Verdicts) -> bool | None:
    told = [given[number] != "right" for given in verdicts.values() if given.get(number, "cannot tell") != "cannot tell"]
    return any(told) if told else None


def _group(name: str, counts: Mapping[str, int], labels: Sequence[AuditItem], fails: Mapping[int, bool]) -> GroupResult:
    own = [item.number for item in labels if item.group == name]
    told = [fails[number] for number in own if number in fails]
    return GroupResult(
        name, counts["n_labels"], len(own), len(own) - len(told), finite_share(sum(told), len(told), counts["n_labels"])
    )


def _others(groups: Sequence[GroupResult]) -> Estimate:
    """A mean weighed by group sizes; Wilson's interval for the trials that give its variance as a single share (Kish, 1965)."""
    own = [group for group in groups if group.name != "trusted" and group.failed.value is not None]
    if not own:
        return unscored(0, None, "no label that is not trusted has a verdict")
    total = sum(group.n_labels for group in own)
    weights = [group.n_labels / total for group in own]
    value = min(1.0, math.fsum(w * float(group.failed.value or 0) for w, group in zip(weights, own, strict=True)))
    n = 1 / sum(w**2 / group.failed.n for w, group in zip(weights, own, strict=True))
    low, high = wilson_bounds(value, n)
    return Estimate(value, low, high, sum(group.failed.n for group in own), None)


def _rater(rater: str, audit: Audit, given: Mapping[int, str]) -> RaterResult:
    def failed(trusted: bool) -> Estimate:
        own = [item for item in audit.items if item.kind != CHECK and (item.group == "trusted") is trusted]
        return _share([verdict != "right" for item in own if (verdict := given.get(item.number, "cannot tell")) != "cannot tell"])

    checks = [given[item.number] == "right" for item in audit.items if item.kind == CHECK and item.number in given]
    return RaterResult(rater, len(given), failed(True), failed(False), _share(checks))


def _share(events: Sequence[bool]) -> Estimate:
    return wilson(sum(events), len(events))


def _kappa(one: Mapping[int, str], two: Mapping[int, str], labels: Sequence[AuditItem]) -> Estimate:
    told = [
        (one[item.number], two[item.number])
        for item in labels
        if "cannot tell" not in {one.get(item.number, "cannot tell"), two.get(item.number, "cannot tell")}
    ]
    return cohen_kappa([("right" if a == "right" else "not", "right" if b == "right" else "not") for a, b in told])


def lines(found: AuditResults) -> list[str]:
    """The results as text for a terminal."""
    audit = found.audit
    n_checks = sum(item.kind == CHECK for item in audit.items)
    said = [f"audit {audit.audit_id[:12]}: {len(audit.items)} items, {n_checks} of them checks; {len(found.raters)} raters"]
    if not found.raters:
        return [*said, "nobody has answered yet; take answers with `autolabel audit take FILE --rater NAME`"]
    said.append("labels that fail (any rater says too broad, too narrow or wrong):")
    for group in found.groups:
        untold = f", {group.n_untold} that nobody could tell" if group.n_untold else ""
        said.append(f"  {group.name}: {_shown(group.failed)} ({group.n_drawn} drawn of {group.n_labels}{untold})")
        if group.name == "trusted" and group.n_drawn >= group.n_labels:
            said.append("    all trusted labels were drawn; the interval is about others like them")
    said.append(f"  all that are not trusted, by group size: {_shown(found.others)}")
    for rater in found.raters:
        said.append(
            f"rater {rater.rater}: trusted labels fail {_shown(rater.failed_trusted)}, others {_shown(rater.failed_others)}; "
            f"called right of the checks {_shown(rater.missed_checks)}"
        )
    if len(found.raters) == 1:
        said.append("one rater only: how far raters agree is not known, so these rates rest on one person's reading")
    else:
        said += [f"agreement of {a} and {b} (Cohen's kappa, right or not): {_shown(kappa)}" for a, b, kappa in found.kappas]
        said.append(f"agreement over the five verdicts (Krippendorff's alpha): {_shown(found.alpha)}")
    return said + _calibration(found)


def _calibration(found: AuditResults) -> list[str]:
    if found.brier is None or found.calibration_error is None:
        return ["p_correct: no label that was judged has one"]
    head = f"p_correct against the verdicts on {found.n_with_p} labels: Brier {found.brier:.3f}, calibration error {found.calibration_error:.3f}"
    note = "  (labels as they were drawn, not as they occur; the error is above 0 by chance alone with so few)"
    return [head, note, *(f"  said {one.said:.2f}, right {one.seen:.2f} of {one.n}" for one in found.bins)]


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return f"– ({estimate.reason})"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}] of {estimate.n}"
