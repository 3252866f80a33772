"""The nulls of a label are the nearest ones there are, as a look at all of them in turn would find."""

import math
import random
from collections.abc import Mapping

import pytest

from autolabel.hashing import content_id
from autolabel.pipeline.nulls import CO_FIRING_JACCARD, Nulls
from autolabel.records import Label

WORDS = ("Dogs", "dogs ", "cats", "rain in the hills", "boats and what they carry over the sea", "years written in digits")


def world(seed: int, n: int = 80) -> tuple[dict[int, Label], dict[int, float]]:
    draw = random.Random(seed)
    chosen = {
        feature: Label(content_id("label", feature), "set", "sae", feature, "ok", "explain", text=draw.choice(WORDS))
        for feature in range(0, 3 * n, 3)
    }
    return chosen, {feature: 10 ** draw.uniform(-5, -0.5) for feature in chosen}


def by_looking_at_all(
    chosen: Mapping[int, Label], rates: Mapping[int, float], feature: int, n: int, co_firing: Mapping[int, float]
) -> list[Label]:
    def rate_bin(of: int) -> int:
        return math.floor(2 * math.log10(rates[of]))

    def length_bin(of: int) -> int:
        words = len((chosen[of].text or "").split())
        return (words > 3) + (words > 7)

    def distance(label: Label) -> tuple[int, str]:
        other = label.feature_index
        apart = abs(rate_bin(other) - rate_bin(feature)) + abs(length_bin(other) - length_bin(feature))
        return apart, content_id("null", [feature, label.label_id])

    def plain(label: Label) -> str:
        return (label.text or "").casefold().strip()

    able = [
        label
        for other, label in chosen.items()
        if other != feature and co_firing.get(other, 0.0) <= CO_FIRING_JACCARD and plain(label) != plain(chosen[feature])
    ]
    return sorted(able, key=distance)[:n]


@pytest.mark.parametrize("n", [0, 1, 4, 30, 1_000])
@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_are_found_whatever_the_order_of_the_features(seed: int, n: int) -> None:
    chosen, rates = world(seed)
    draw = random.Random(seed)
    shuffled = dict(draw.sample(sorted(chosen.items()), len(chosen)))
    nulls, others = Nulls(chosen, rates), Nulls(shuffled, rates)
    for feature in chosen:
        co_firing = {other: draw.choice([0.04, CO_FIRING_JACCARD, 0.06]) for other in draw.sample(sorted(chosen), 20)}
        found = nulls.of(feature, n, co_firing)
        assert found == by_looking_at_all(chosen, rates, feature, n, co_firing) == others.of(feature, n, co_firing)
