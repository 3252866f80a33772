from collections.abc import Callable, Iterator

import pytest
import torch

from autolabel.config import TrainingSettings
from autolabel.evidence.sae import SparseCoder
from autolabel.training import Progress, TrainedWeights, train
from autolabel.training.buffer import shuffled_batches

D_MODEL, N_DIRECTIONS = 16, 24


def sparse_data(n: int = 8192, seed: int = 0) -> torch.Tensor:
    """Sums of a few of 24 directions, far from the origin and large, as residual streams are."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(N_DIRECTIONS, D_MODEL, generator=generator), dim=1)
    active = torch.rand(n, N_DIRECTIONS, generator=generator) < 0.08
    strengths = torch.rand(n, N_DIRECTIONS, generator=generator) + 0.5
    return 40 * (active * strengths) @ directions + 100


DATA = sparse_data()
Streams = Callable[[], Iterator[torch.Tensor]]


def stream_of(data: torch.Tensor) -> Streams:
    return lambda: iter(torch.split(data, 700))


def settings(architecture: str, **changes: float) -> TrainingSettings:
    values = {"d_sae": 48, "k": 3, "tokens": 60_000, "batch_tokens": 256, "buffer_tokens": 2048, "learning_rate": 4e-3}
    return TrainingSettings.model_validate(
        {"hookpoint": "layers.0", "architecture": architecture, "l1_weight": 1.0, "dead_after_tokens": 10_000} | values | changes
    )


def trained(architecture: str, seed: int = 0, data: torch.Tensor = DATA, **changes: float) -> tuple[TrainedWeights, list[Progress]]:
    reports: list[Progress] = []
    return train(stream_of(data), settings(architecture, **changes), seed, reports.append), reports


def fvu(weights: TrainedWeights, architecture: str, x: torch.Tensor) -> float:
    coder = SparseCoder(
        weights.W_enc,
        weights.b_enc,
        weights.W_dec,
        weights.b_dec,
        architecture="topk" if architecture == "topk" else "relu",
        k=3 if architecture == "topk" else None,
        hookpoint="layers.0",
        name="trained",
        format="autolabel",
        subject_model="none",
    )
    error = x - coder.decode(coder.encode(x), len(x))
    return (error.square().sum() / (x - x.mean(0)).square().sum()).item()


@pytest.mark.parametrize("architecture", ["topk", "l1"])
def test_training_learns_and_its_weights_read_unscaled_activations(architecture: str) -> None:
    weights, reports = trained(architecture)
    assert reports[-1].fvu < 0.5 * reports[0].fvu
    assert reports[-1].fvu < 0.3
    assert reports[-1].tokens == 60_000 // 256 * 256
    assert 0 < reports[-1].l0 < 24
    torch.testing.assert_close(weights.W_dec.norm(dim=1), torch.ones(48))
    assert fvu(weights, architecture, DATA) == pytest.approx(reports[-1].fvu, abs=0.05)
    assert fvu(weights, architecture, sparse_data(2000)) < 0.35
    assert not any(tensor.requires_grad for tensor in (weights.W_enc, weights.b_enc, weights.W_dec, weights.b_dec))


def test_a_topk_sae_has_at_most_k_features_per_token() -> None:
    _, reports = trained("topk", tokens=5_000)
    assert all(report.l0 <= 3 for report in reports)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    one, two, other = (trained("topk", seed, tokens=5_000)[0] for seed in (0, 0, 1))
    assert torch.equal(one.W_dec, two.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)


def test_dead_features_are_brought_back() -> None:
    _, reports = trained("topk", dead_after_tokens=2_000)
    assert reports[-1].dead_share < 0.5


def test_scale_and_offset_of_the_activations_do_not_matter() -> None:
    _, plain = trained("topk", tokens=10_000)
    _, scaled = trained("topk", tokens=10_000, data=DATA * 50 - 3000)
    assert scaled[-1].fvu == pytest.approx(plain[-1].fvu, abs=0.05)


@pytest.mark.parametrize("n", [0, 100])
def test_too_little_text_is_an_error_with_both_numbers(n: int) -> None:
    with pytest.raises(ValueError, match=f"the text yields {n} activations, fewer than one batch of 256"):
        train(lambda: iter([torch.randn(n, 4)]), settings("topk"), 0, lambda report: None)


def test_the_last_step_is_always_reported() -> None:
    _, reports = trained("topk", tokens=256 * 13)
    assert [report.tokens for report in reports] == [2560, 3328]


def batches(n: int, **changes: int) -> list[torch.Tensor]:
    sizes = {"buffer_tokens": 400, "batch_tokens": 50, "reuse": 1} | changes
    numbers = torch.arange(1000.0)[:, None]
    found = shuffled_batches(lambda: iter(numbers.split(37)), generator=torch.Generator().manual_seed(0), **sizes)
    return [next(found) for _ in range(n)]


def test_the_buffer_mixes_neighbours_and_loses_nothing() -> None:
    found = batches(60)
    assert all(batch.shape == (50, 1) for batch in found)
    seen = torch.cat(found).flatten().tolist()
    assert len(set(seen)) > 980
    assert max(seen.count(value) for value in set(seen)) <= 5
    assert (found[0][1:] - found[0][:-1]).abs().mean() > 20


def test_reuse_shows_each_activation_that_often_on_average() -> None:
    seen = torch.cat(batches(120, reuse=3)).flatten()
    counts = torch.bincount(seen.long(), minlength=1000).float()
    assert counts.mean().item() == pytest.approx(6)
    assert (counts == 0).float().mean() < 0.05


@pytest.mark.parametrize("changes", [{"k": 49}, {"buffer_tokens": 400}])
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"k = 49 exceeds d_sae = 48|buffer_tokens = 400 must hold at least two batches of 256"):
        settings("topk", **changes)
