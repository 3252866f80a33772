"""The shipped trust models are what fitting them again gives."""

from pathlib import Path

import pytest

from autolabel import parts
from autolabel.config import TruthSettings
from autolabel.resources import resource_dir
from autolabel.trust import FILE
from autolabel.truth.features import FAMILIES
from autolabel.truth.trusting import differences, fit_all, gather, read_file

pytestmark = pytest.mark.slow


def test_the_shipped_models_are_fitted_again(tmp_path: Path) -> None:
    parts.fetch(parts.NEEDED_BY["autolabel bench truth"], lambda _: None)
    data = resource_dir("data")
    sources, cases = [], []
    for seed, replies in ((0, str(data / "truthbench" / "replies.jsonl.xz")), (1, None)):
        given = {
            "db": str(tmp_path / f"{seed}.duckdb"),
            "seed": seed,
            "families": list(FAMILIES),
            "replies": replies,
            "checks": False,
        }
        source, some = gather(TruthSettings.model_validate(given), lambda _: None, with_shipped=seed == 0)
        sources.append(source)
        cases += some
    assert differences(read_file(data / FILE), fit_all(sources, cases)) == []
