import math
from dataclasses import replace

import pytest
import torch

from autolabel.errors import DataError
from autolabel.evidence.fit import GATE_TOKENS, Sample, fit, fit_many, mean_and_sink_fvu, sample
from autolabel.evidence.subject import Subject
from tests.evidence.test_subject import documents
from tests.evidence.worlds import identity_coder


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_numbers_of_a_fit_are_those_computed_by_hand() -> None:
    x, target = gaussian(50, 8), gaussian(50, 8, 1)
    found = fit(identity_coder(8), x, target)
    error, spread = ((target - x.relu()) ** 2).sum(1), ((target - target.mean(0)) ** 2).sum(1)
    assert found.fvu == pytest.approx((error.sum() / spread.sum()).item(), rel=1e-5)
    assert found.fvu_median == pytest.approx((error / spread).median().item(), rel=1e-5)
    assert found.l0 == pytest.approx((x > 0).sum().item() / 50)
    torch.testing.assert_close(found.density, (x > 0).float().mean(0))


def test_a_perfect_reconstruction_and_the_mean_are_the_ends_of_the_scale() -> None:
    x = gaussian(40, 4).abs()
    assert fit(identity_coder(4), x, x).fvu == pytest.approx(0, abs=1e-10)
    assert math.isnan(fit(identity_coder(4, torch.full((4, 4), float("nan"))), x, x).fvu)
    silent = replace(identity_coder(4), b_enc=torch.full((4,), -100.0), b_dec=x.mean(0))
    assert fit(silent, x, x).fvu == pytest.approx(1)
    assert math.isnan(fit(identity_coder(4), x[:0], x[:0]).fvu)


def test_samples_fitted_together_are_fitted_as_alone() -> None:
    coder = identity_coder(8)
    samples = [(gaussian(n, 8, n), gaussian(n, 8, 100 + n)) for n in (50, 1, 0, 7)]
    for (x, target), found in zip(samples, fit_many(coder, samples), strict=True):
        alone = fit(coder, x, target)
        assert (found.fvu, found.fvu_median, found.l0) == pytest.approx((alone.fvu, alone.fvu_median, alone.l0), nan_ok=True)
        torch.testing.assert_close(found.density, alone.density)


def test_the_mean_and_a_sink_leave_what_is_off_their_line() -> None:
    direction = torch.nn.functional.normalize(gaussian(1, 16, 3), dim=1)
    noise = gaussian(300, 16)
    noise -= noise @ direction.T @ direction
    strengths = torch.zeros(300, 1)
    strengths[:6] = 200.0
    x = 5 + noise + strengths * direction
    centred = x - x.mean(0)
    principal = torch.linalg.svdvals(centred)[0] ** 2
    assert mean_and_sink_fvu(x) == pytest.approx((1 - principal / centred.square().sum()).item(), rel=1e-3)
    assert mean_and_sink_fvu(x) == pytest.approx((noise.square().sum() / centred.square().sum()).item(), rel=0.02)
    assert mean_and_sink_fvu(x) < 0.05
    assert mean_and_sink_fvu(noise) > 0.85
    assert math.isnan(mean_and_sink_fvu(x[:0]))


def test_a_sample_holds_the_same_tokens_everywhere(subject: Subject) -> None:
    some = documents(subject, 20)
    found = sample(subject, ["layers.0", "layers.1.mlp"], some, 96)
    n = len(found.tokens["layers.0"])
    assert GATE_TOKENS <= n < GATE_TOKENS + 4 * 95
    assert len(found.tokens["layers.1.mlp"]) == n
    assert len(found.first["layers.0"]) == len(found.first["layers.1.mlp"]) >= n / 95
    alone = sample(subject, ["layers.1.mlp"], some, 96)
    assert torch.equal(alone.tokens["layers.1.mlp"], found.tokens["layers.1.mlp"])
    assert sample(subject, ["layers.0"], some, 96, bos=False).first["layers.0"].shape == (0, 32)


def test_of_a_context_longer_than_wanted_every_nth_token_is_taken(subject: Subject) -> None:
    some = documents(subject, 20)
    whole = sample(subject, ["layers.0"], some, 96, n_tokens=80).tokens["layers.0"]
    few = sample(subject, ["layers.0"], some, 96, n_tokens=20).tokens["layers.0"]
    assert 80 <= len(whole) <= 95
    assert torch.equal(few, whole[:: len(whole) // 20])
    assert 20 <= len(few) < 30


def test_outliers_and_what_is_not_finite_are_not_usable() -> None:
    x = torch.ones(20, 4)
    x[3] *= 10.5
    x[5] = float("nan")
    x[6] = float("inf")
    y = torch.ones(20, 3)
    y[7] *= 100
    both = Sample({"x": x, "y": y}, {})
    assert both.limit("x") == 20.0
    assert both.limit("y") == 17.0
    assert (~both.usable(["x"])).nonzero().flatten().tolist() == [3, 5, 6]
    assert (~both.usable(["x", "y"])).nonzero().flatten().tolist() == [3, 5, 6, 7]


def test_no_text_is_refused(subject: Subject) -> None:
    with pytest.raises(DataError, match="no text to measure"):
        sample(subject, ["layers.0"], [], 96)
