from dataclasses import replace

import pytest
import torch

from autolabel.errors import DataError, GateRefused
from autolabel.evidence.batches import OUTLIER_FACTOR, run_contexts, usable_tokens
from autolabel.evidence.corpus import Document
from autolabel.evidence.gate import GateReport, measure, norm_limit, require_pass
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.subject import Subject
from tests.evidence.test_subject import documents

D_MODEL = 32


@pytest.fixture(scope="module")
def texts(subject: Subject) -> list[Document]:
    return documents(subject, 20)


@pytest.fixture(scope="module")
def x(subject: Subject, texts: list[Document]) -> torch.Tensor:
    batches = run_contexts(subject, "layers.1", texts, 96, 4, norm_limit(subject, "layers.1", texts, 96))
    return torch.cat([usable_tokens(batch) for batch in batches])


def good(x: torch.Tensor) -> SparseCoder:
    """Signed principal components: feature 2i and 2i + 1 are the two directions of component i."""
    mean = x.mean(0)
    _, _, V = torch.linalg.svd(x - mean, full_matrices=False)
    half = V[: D_MODEL // 2]
    W_dec = torch.cat([half, -half])
    return SparseCoder(
        W_enc=W_dec.T.clone(),
        b_enc=torch.zeros(D_MODEL),
        W_dec=W_dec,
        b_dec=mean,
        architecture="topk",
        k=8,
        hookpoint="layers.1",
        name="good",
        format="autolabel",
        subject_model="tiny",
        advertised_l0=8.0,
    )


def refusal(subject: Subject, coder: SparseCoder, texts: list[Document]) -> str:
    report = measure(subject, coder, texts, 96)
    with pytest.raises(GateRefused) as caught:
        require_pass(report, coder.name)
    assert "\n" not in str(caught.value)
    assert coder.name in str(caught.value)
    return str(caught.value)


def test_a_good_sae_passes(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    coder = good(x)
    report = measure(subject, coder, texts, 96)
    require_pass(report, coder.name)
    assert report.problems() == []
    assert "\n" not in report.summary()
    assert report.l0 == pytest.approx(8, abs=0.5)
    assert 2000 <= report.n_tokens + report.n_excluded <= 2800
    n = report.n_tokens
    error = x[:n] - coder.decode(coder.encode(x[:n]), n)
    assert report.fvu == pytest.approx((error.square().sum() / (x[:n] - x[:n].mean(0)).square().sum()).item(), abs=1e-4)
    assert 0 < report.fvu < 0.9
    assert 0 < report.fvu_median < 1


def test_a_wrong_width_is_refused_with_both_widths(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    narrow = replace(good(x), W_enc=torch.zeros(16, 32), W_dec=torch.zeros(32, 16), b_dec=torch.zeros(16))
    with pytest.raises(DataError, match=r"reads activations 16 wide, but 'layers\.1' of .* is 32 wide"):
        measure(subject, narrow, texts, 96)


def test_an_unknown_hookpoint_is_refused(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"has no module 'layers\.40'"):
        measure(subject, replace(good(x), hookpoint="layers.40"), texts, 96)


def test_a_transposed_matrix_is_refused(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    coder = good(x)
    assert "FVU is" in refusal(subject, replace(coder, W_enc=coder.W_enc.T.contiguous()), texts)
    assert "FVU is" in refusal(subject, replace(coder, W_dec=coder.W_dec.T.contiguous()), texts)


def test_a_missing_b_dec_in_the_output_is_refused(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    coder = good(x)
    far = replace(coder, b_dec=coder.b_dec + 30 * x.std())
    assert "FVU is" in refusal(subject, far, texts)


def test_reconstructing_only_the_mean_and_the_sink_is_refused(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    sink = torch.nn.functional.normalize(torch.randn(1, D_MODEL, generator=torch.Generator().manual_seed(0)), dim=1)
    b_enc = torch.full((D_MODEL,), -1e6)
    b_enc[0] = -((x - x.mean(0)) @ sink[0]).quantile(0.99)
    sinks = replace(
        good(x),
        W_enc=sink.T.repeat(1, D_MODEL),
        b_enc=b_enc,
        W_dec=sink.repeat(D_MODEL, 1),
        architecture="relu",
        advertised_l0=None,
    )
    assert "it reconstructs little but the mean and the sink" in refusal(subject, sinks, texts)


def test_an_sae_that_is_always_silent_is_refused(subject: Subject, texts: list[Document], x: torch.Tensor) -> None:
    silent = replace(good(x), architecture="relu", b_enc=torch.full((D_MODEL,), -1e6))
    assert "no feature fires on any token" in refusal(subject, silent, texts)


@pytest.mark.parametrize("advertised", [1.0, 60.0])
def test_an_l0_far_from_the_advertised_one_is_refused(
    subject: Subject, texts: list[Document], x: torch.Tensor, advertised: float
) -> None:
    message = refusal(subject, replace(good(x), advertised_l0=advertised), texts)
    assert f"8.0 features fire per token where its settings say {advertised:.0f}" in message


def test_no_text_is_refused(subject: Subject, x: torch.Tensor) -> None:
    with pytest.raises(DataError, match="no text to measure"):
        measure(subject, good(x), [], 96)


def report(**changes: float) -> GateReport:
    numbers = {
        "n_tokens": 10,
        "n_excluded": 0,
        "excluded_variance_share": 0.0,
        "norm_limit": 1.0,
        "fvu": 0.5,
        "fvu_median": 0.5,
        "fvu_without_bos": 0.5,
        "l0": 8.0,
        "silent_share": 0.0,
        "dense_share": 0.0,
    }
    return GateReport(advertised_l0=8.0, **{**numbers, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"fvu": float("nan")}, {"fvu": float("inf")}, {"fvu": 0.96}, {"l0": 41.0}, {"l0": 1.5}, {"dense_share": 0.6}]
)
def test_numbers_that_are_nonsense_are_a_problem(changes: dict[str, float]) -> None:
    assert report().problems() == []
    assert len(report(**changes).problems()) == 1


def test_the_limit_is_ten_medians(subject: Subject, texts: list[Document]) -> None:
    everything = run_contexts(subject, "layers.1", texts, 96, 4, float("inf"))
    norms = torch.cat([usable_tokens(batch) for batch in everything]).norm(dim=1)
    assert norm_limit(subject, "layers.1", texts, 96) == pytest.approx(OUTLIER_FACTOR * norms.median().item(), rel=0.06)
