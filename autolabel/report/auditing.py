"""Drawing a blind audit: which labels people are asked about, beside which windows, in which order.

The invariant: what is drawn follows from the database and the seed; nothing that is shown tells a score, a stamp, or which labels belong
to another feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autolabel.errors import DataError
from autolabel.hashing import content_id
from autolabel.records import Example, FeatureEvidence
from autolabel.report.examples import across_strengths
from autolabel.report.reading import chosen_set
from autolabel.store.auditing import Audit, AuditItem, Candidate, features_with_windows, load_candidates
from autolabel.store.connection import Database
from autolabel.store.reading import co_firing, load_feature_evidence

N_WINDOWS = 8
"""Windows that fire, and as many that do not."""
CHECK, CHECK_SHARE = "check", 0.1
"""Items whose label belongs to another feature."""
GROUPS = ("trusted", "high", "low", "unscored")
"""Trusted labels, and the others by label_score."""
HIGH_SCORE = 0.5
CO_FIRING_JACCARD = 0.05
"""A label of a feature that fires together with this one more than so may describe it too, and checks nothing."""
SPARE = 10
"""For each check wanted, so many features are looked at for one that has a stranger's label to show."""


def draw_audit(db: Database, n: int, seed: int, sae: str | None = None) -> tuple[Audit, dict[int, tuple[Example, ...]]]:
    """Draw `n` items: half of the labels from the trusted ones, as far as there are so many, the rest evenly from the other groups, and one
    in ten (at least two, where labels allow) a check. Also the windows of each feature drawn.

    Raises:
        StoreError: the database holds no evidence.
        ConfigError: more than one SAE could be meant.
        DataError: no label can be audited.
    """
    with db.read():
        evidence_set_id = chosen_set(db, sae)["evidence_set_id"]
        candidates, judgeable = load_candidates(db, evidence_set_id), features_with_windows(db, evidence_set_id)
        able = [one for one in candidates if one.feature_index in judgeable]
        if not able:
            raise DataError(
                f"{db.path}: none of {len(candidates)} labels has test windows that fire and some that do not; label and score "
                f"features first, with `autolabel run CONFIG.toml --db {db.path}`"
            )
        n_checks = min(max(2, round(n * CHECK_SHARE)), n - 1, len(able) - 1) if n > 1 else 0
        groups, drawn = _labels_drawn(able, n - n_checks, seed)
        checks = _checks(db, evidence_set_id, able, drawn, n_checks, seed)
        every = sorted([*drawn, *checks], key=lambda one: content_id("order", [seed, one.feature_index, one.label_id]))
        evidence = load_feature_evidence(db, evidence_set_id, {one.feature_index for one in every}, "test")
    windows = {index: shown_windows(found) for index, found in evidence.items()}
    items = tuple(
        replace(item, number=number, window_ids=tuple(e.window_id for e in windows[item.feature_index]))
        for number, item in enumerate(every, start=1)
    )
    grounds = [[one.feature_index, one.label_id, one.kind, one.group, one.p_correct, list(one.window_ids)] for one in items]
    audit = Audit(content_id("audit", [evidence_set_id, seed, groups, grounds]), evidence_set_id, seed, groups, items)
    return audit, windows


def shown_windows(evidence: FeatureEvidence) -> tuple[Example, ...]:
    """Test windows of a feature: those that fire, from strong to weak, then as many that do not, hard and random ones in turn; none where
    either is lacking."""
    test = [example for example in evidence.examples if example.split == "test"]
    firing = across_strengths(test, N_WINDOWS)
    silent = [
        sorted((e for e in test if e.in_exam and e.stratum == stratum), key=lambda e: (e.sample_rank, e.window_id))
        for stratum in ("hard", "random")
    ]
    longest = max(map(len, silent))
    in_turn = [group[place] for place in range(longest) for group in silent if place < len(group)]
    distinct = list({example.window_id: example for example in in_turn}.values())[:N_WINDOWS]
    return (*firing, *distinct) if firing and distinct else ()


def group_of(candidate: Candidate) -> str:
    """Which group a label is drawn from."""
    if candidate.trusted:
        return "trusted"
    if candidate.label_score is None:
        return "unscored"
    return "high" if candidate.label_score >= HIGH_SCORE else "low"


def shares(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """How many of `n` come from each group: trusted ones as many as all others together, the others alike, as far as groups reach."""
    others = max(sum(1 for group, size in sizes.items() if group != "trusted" and size), 1)
    taken = dict.fromkeys(sizes, 0)
    for _ in range(min(n, sum(sizes.values()))):
        open_groups = [group for group in sizes if taken[group] < sizes[group]]
        group = min(
            open_groups,
            key=lambda one: ((taken[one] + 0.5) / (others if one == "trusted" else 1), one == "trusted", GROUPS.index(one)),
        )
        taken[group] += 1
    return taken


def _labels_drawn(able: Sequence[Candidate], n: int, seed: int) -> tuple[dict[str, dict[str, int]], list[AuditItem]]:
    members: dict[str, list[Candidate]] = {group: [] for group in GROUPS}
    for one in sorted(able, key=lambda one: content_id("audit", [seed, one.label_id])):
        members[group_of(one)].append(one)
    taken = shares({group: len(found) for group, found in members.items()}, n)
    groups = {group: {"n_labels": len(members[group]), "n_drawn": taken[group]} for group in GROUPS if members[group]}
    return groups, [_item(one, one, "label", group) for group in GROUPS for one in members[group][: taken[group]]]


def _checks(
    db: Database, evidence_set_id: str, able: Sequence[Candidate], drawn: Sequence[AuditItem], n: int, seed: int
) -> list[AuditItem]:
    """Features that are not asked about otherwise, as far as there are such, under labels of others that fire elsewhere."""
    used = {item.feature_index for item in drawn}
    order = sorted(able, key=lambda one: (one.feature_index in used, content_id("check", [seed, one.label_id])))[: SPARE * n]
    together = co_firing(
        db, evidence_set_id, [one.feature_index for one in order], [one.feature_index for one in able], CO_FIRING_JACCARD
    )
    found: list[AuditItem] = []
    for own in order:
        others = [
            other
            for other in able
            if other.text.casefold().strip() != own.text.casefold().strip()
            and other.feature_index not in together.get(own.feature_index, {})
        ]
        if len(found) < n and others:
            other = min(others, key=lambda one: content_id("foreign", [seed, own.feature_index, one.label_id]))
            found.append(_item(own, other, "check", CHECK))
    return found


def _item(own: Candidate, labelled: Candidate, kind: str, group: str) -> AuditItem:
    p_correct = own.p_correct if kind == "label" else None
    return AuditItem(0, own.feature_index, labelled.label_id, labelled.text, kind, group, p_correct, ())
