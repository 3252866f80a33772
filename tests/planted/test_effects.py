import math

import pytest
import torch

from autolabel.planted.effects import HIGHEST_SHARE, raised

COLUMNS = torch.tensor([1, 3, 4])


def nats(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_chosen_tokens_gain_what_is_said_and_all_others_lose_by_one_factor() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 9)
    found, clipped = raised(logits, COLUMNS, nats([0.5, 0.5, 0.0], [-1.0, 0.25, 0.5]))
    before, after = logits.double().softmax(1), found.softmax(1)
    change = (after / before).log()
    assert change[0, [1, 3]].tolist() == pytest.approx([0.5, 0.5], abs=1e-12)
    assert change[1, COLUMNS].tolist() == pytest.approx([-1, 0.25, 0.5], abs=1e-12)
    rest = change[0, [0, 2, 4, 5, 6, 7, 8]]
    assert rest.max() - rest.min() < 1e-12
    assert rest[0] < 0
    torch.testing.assert_close(found.logsumexp(1), logits.double().logsumexp(1))
    assert not clipped.any()


def test_what_would_exceed_the_highest_share_is_clipped_and_said_so() -> None:
    logits = torch.zeros(3, 5)
    logits[0, 1], logits[1, 1], logits[2, 1] = 3.0, 60.0, 60.0
    found, clipped = raised(logits, COLUMNS, nats([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]))
    share = found.softmax(1)[:, 1]
    assert share[0].item() == pytest.approx(HIGHEST_SHARE)
    assert share[1].item() == pytest.approx(1)
    assert share[2].item() == pytest.approx(math.exp(-1))
    assert clipped.tolist() == [True, True, False]
    assert found.isfinite().all()
    assert found[1].tolist() == pytest.approx(logits[1].tolist())
