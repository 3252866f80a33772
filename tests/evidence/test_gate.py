from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from autolabel.config import SaeSettings
from autolabel.errors import DataError, GateRefused
from autolabel.evidence.batches import OUTLIER_FACTOR, run_contexts, usable_tokens
from autolabel.evidence.coders import open_coder
from autolabel.evidence.corpus import Document
from autolabel.evidence.examine import rule_of
from autolabel.evidence.gate import GateReport, measure, norm_limit, require_pass
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.sae.neurons import NeuronCoder
from autolabel.evidence.subject import Subject
from tests.evidence.fitting import D_MODEL, fitted, transcoder
from tests.evidence.test_subject import documents


@pytest.fixture(scope="module")
def texts(subject: Subject) -> list[Document]:
    return documents(subject, 20)


@pytest.fixture(scope="module")
def coder(subject: Subject, texts: list[Document]) -> SparseCoder:
    return fitted(subject, texts)


@pytest.fixture(scope="module")
def x(subject: Subject, texts: list[Document]) -> torch.Tensor:
    batches = run_contexts(subject, "layers.1", texts, 96, 4, norm_limit(subject, "layers.1", texts, 96))
    return torch.cat([usable_tokens(batch) for batch in batches])


def refusal(subject: Subject, coder: SparseCoder, texts: list[Document]) -> str:
    report = measure(subject, coder, texts, 96)
    with pytest.raises(GateRefused) as caught:
        require_pass(report, coder.name)
    assert "\n" not in str(caught.value)
    assert f"the SAE '{coder.name}' does not fit '{coder.hookpoint}': " in str(caught.value)
    return str(caught.value)


def test_a_good_sae_passes(subject: Subject, texts: list[Document], coder: SparseCoder, x: torch.Tensor) -> None:
    report = measure(subject, coder, texts, 96)
    require_pass(report, coder.name)
    assert report.problems() == []
    assert report.diagnosis is None
    assert report.l0 == pytest.approx(8, abs=0.5)
    assert 2000 <= report.n_tokens + report.n_excluded <= 2800
    n = report.n_tokens
    error = x[:n] - coder.decode(coder.encode(x[:n]), n)
    assert report.fvu == pytest.approx((error.square().sum() / (x[:n] - x[:n].mean(0)).square().sum()).item(), abs=1e-4)
    assert 0 < report.fvu < 0.3
    assert 0 < report.fvu_median < 0.3
    assert report.fvu_with_bos == report.fvu != report.fvu_without_bos
    assert report.fvu < report.fvu_mean_and_sink < 1


def test_the_report_says_what_was_read_and_how(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    report = measure(subject, replace(coder, hookpoint="blocks.1.hook_resid_post"), texts, 96)
    assert (report.hookpoint, report.hookpoint_resolved) == ("blocks.1.hook_resid_post", "layers.1")
    assert (report.d_in, report.d_sae, report.d_out) == (32, 32, 32)
    lines = report.summary().splitlines()
    assert lines[0] == f"load gate on {report.n_tokens:,} test tokens"
    assert lines[1] == "  SAE       fitted: topk, the 8 largest of (x − b_dec) W_enc + b_enc, where positive"
    assert lines[3] == "  reads     blocks.1.hook_resid_post, which is layers.1"
    assert "begin with BOS (its files do not say), float32" in lines[4]
    assert f"FVU       {report.fvu:.3f}, median token {report.fvu_median:.3f}; the mean and a sink alone" in report.summary()
    assert f"{report.n_first} BOS positions and 0 tokens of norm above" in lines[-1]
    assert max(map(len, lines)) <= 160
    assert report.as_dict()["density"].keys() == {"0.05", "0.25", "0.5", "0.75", "0.95"}


def test_the_saes_own_bos_convention_is_followed(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    with_bos, without = (measure(subject, replace(coder, prepend_bos=said), texts, 96) for said in (True, False))
    assert with_bos.fvu == with_bos.fvu_with_bos == without.fvu_with_bos
    assert without.fvu == without.fvu_without_bos == with_bos.fvu_without_bos
    assert without.n_first == 0 < with_bos.n_first
    assert "without BOS (as its files say)" in without.summary()


def test_a_transcoder_is_held_against_what_it_reconstructs(subject: Subject, texts: list[Document]) -> None:
    coder = transcoder(subject, texts, 1)
    report = measure(subject, coder, texts, 96)
    require_pass(report, coder.name)
    x, y = (
        torch.cat([usable_tokens(b) for b in run_contexts(subject, p, texts, 96, 4, 1e9)])
        for p in ("layers.1.mlp:input", "layers.1.mlp")
    )
    x, y = x[: report.n_tokens], y[: report.n_tokens]
    error = y - coder.reconstruct(x)[1]
    assert report.n_excluded == 0
    assert report.fvu == pytest.approx((error.square().sum() / (y - y.mean(0)).square().sum()).item(), abs=1e-4)
    assert "  writes    layers.1.mlp" in report.summary()
    wrong = replace(coder, hookpoint_out="layers.1.self_attn")
    assert "it fits reconstructing layers.1.mlp (FVU" in refusal(subject, wrong, texts)


def test_neurons_are_held_against_the_output_of_their_mlp(subject: Subject, texts: list[Document]) -> None:
    down_proj = subject._base.get_submodule("layers.1.mlp.down_proj").weight.detach()
    neurons = NeuronCoder(down_proj, hookpoint="layers.1.mlp.down_proj:input", subject_model="tiny")
    report = measure(subject, neurons, texts, 96)
    require_pass(report, neurons.name)
    assert report.fvu == pytest.approx(0, abs=1e-6)
    assert report.dense_share > 0.3
    assert replace(report, dense_share=0.9).problems() == []
    assert "neurons of layers.1.mlp.down_proj: neurons, both signs of each one's activation" in report.summary()
    for name in ("blocks.1.mlp.hook_post", "model.layers.1.mlp.down_proj.input"):
        opened = open_coder(SaeSettings(kind="neurons", path="", hookpoint=name), subject)
        assert (opened.hookpoint, opened.hookpoint_out) == ("layers.1.mlp.down_proj:input", "layers.1.mlp.down_proj")
    with pytest.raises(DataError, match=r"is the output of 'layers\.1\.mlp\.down_proj'; neurons are what enters"):
        open_coder(SaeSettings(kind="neurons", path="", hookpoint="layers.1.mlp.down_proj"), subject)
    elsewhere = measure(subject, replace(neurons, hookpoint="layers.2.mlp.down_proj:input"), texts, 96)
    assert "worse than predicting the mean" in elsewhere.problems()[0]


def test_a_wrong_width_is_refused_with_both_widths(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    narrow = replace(coder, W_enc=torch.zeros(16, 24), b_enc=torch.zeros(24), W_dec=torch.zeros(24, 16), b_dec=torch.zeros(16))
    with pytest.raises(
        DataError, match=r"reads activations 16 wide, but 'layers\.1' of .* is 32 wide; it was trained on another"
    ) as caught:
        measure(subject, narrow, texts, 96)
    assert "transposed" not in str(caught.value)
    out = replace(coder, W_dec=torch.zeros(32, 16), b_dec=torch.zeros(16), subtract_b_dec=False)
    with pytest.raises(DataError, match=r"reconstructs activations 16 wide, but 'layers\.1'"):
        measure(subject, out, texts, 96)


def test_a_width_that_is_the_number_of_features_looks_transposed(
    subject: Subject, texts: list[Document], coder: SparseCoder
) -> None:
    swapped = replace(coder, W_enc=torch.zeros(64, 32), b_enc=torch.zeros(32), W_dec=torch.zeros(32, 64), b_dec=torch.zeros(64))
    with pytest.raises(DataError, match=r"64 wide, but .* is 32 wide; .* its matrices seem to be transposed"):
        measure(subject, swapped, texts, 96)


def test_an_unknown_hookpoint_is_refused(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    with pytest.raises(DataError, match=r"has no module 'layers\.40'"):
        measure(subject, replace(coder, hookpoint="layers.40"), texts, 96)


def test_a_missing_b_dec_in_the_output_is_refused(
    subject: Subject, texts: list[Document], coder: SparseCoder, x: torch.Tensor
) -> None:
    far = replace(coder, b_dec=coder.b_dec + 30 * x.std())
    assert "FVU is" in refusal(subject, far, texts)


def sink_sae(coder: SparseCoder, x: torch.Tensor, direction: torch.Tensor) -> SparseCoder:
    """Reconstructs the mean, and one direction on the hundredth of tokens that are farthest along it."""
    b_enc = torch.full((D_MODEL,), -1e6)
    b_enc[0] = -((x - x.mean(0)) @ direction[0]).quantile(0.99)
    W_enc, W_dec = direction.T.repeat(1, D_MODEL), direction.repeat(D_MODEL, 1)
    return replace(coder, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, architecture="relu", advertised_l0=None)


def test_reconstructing_only_the_mean_and_the_sink_is_refused(
    subject: Subject, texts: list[Document], coder: SparseCoder, x: torch.Tensor
) -> None:
    direction = torch.nn.functional.normalize(torch.randn(1, D_MODEL, generator=torch.Generator().manual_seed(0)), dim=1)
    message = refusal(subject, sink_sae(coder, x, direction), texts)
    assert "it reconstructs little but the mean and the sink, which alone leave 0." in message


def test_reconstructing_the_mean_and_the_best_line_is_refused_although_its_fvu_is_below_the_mean(
    subject: Subject, texts: list[Document], coder: SparseCoder, x: torch.Tensor
) -> None:
    line = replace(
        coder,
        W_enc=torch.cat([coder.W_dec[:1], coder.W_dec[D_MODEL // 2 : D_MODEL // 2 + 1]]).T.contiguous(),
        b_enc=torch.zeros(2),
        W_dec=torch.cat([coder.W_dec[:1], coder.W_dec[D_MODEL // 2 : D_MODEL // 2 + 1]]),
        architecture="relu",
        k=None,
        advertised_l0=None,
    )
    report = measure(subject, line, texts, 96)
    assert report.fvu == pytest.approx(report.fvu_mean_and_sink, abs=0.01)
    assert report.fvu < 0.9
    assert "it reconstructs little but the mean and the sink" in refusal(subject, line, texts)


def test_an_sae_that_is_always_silent_is_refused_for_that_alone(
    subject: Subject, texts: list[Document], coder: SparseCoder
) -> None:
    silent = replace(coder, architecture="relu", b_enc=torch.full((D_MODEL,), -1e6))
    message = refusal(subject, silent, texts)
    assert message.endswith(": no feature fires on any token; check [sae] path and hookpoint, or pass --force")


def test_an_sae_that_is_always_active_is_refused_for_that_alone(
    subject: Subject, texts: list[Document], coder: SparseCoder
) -> None:
    dense = replace(coder, architecture="relu", W_enc=coder.W_enc * 1e-3, b_enc=torch.ones(D_MODEL), W_dec=coder.W_dec * 1e-3)
    message = refusal(subject, replace(dense, advertised_l0=1.0), texts)
    assert "100% of the features fire on at least half of the tokens" in message
    assert "where its settings say" not in message


@pytest.mark.parametrize("advertised", [1.0, 60.0])
def test_an_l0_far_from_the_advertised_one_is_refused(
    subject: Subject, texts: list[Document], coder: SparseCoder, advertised: float
) -> None:
    message = refusal(subject, replace(coder, advertised_l0=advertised), texts)
    assert f"8.0 features fire per token where its settings say {advertised:.0f}" in message


def test_weights_that_are_nan_are_refused(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    W_dec = coder.W_dec.clone()
    W_dec[3] = float("nan")
    assert "what it reconstructs holds NaN or infinity" in refusal(subject, replace(coder, W_dec=W_dec), texts)


def test_a_model_whose_numbers_overflow_is_told_from_an_sae_that_does_not_fit(
    subject: Subject, texts: list[Document], coder: SparseCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture: Callable[..., dict[str, torch.Tensor]] = subject.capture

    def overflowing(ids: torch.Tensor, hookpoints: list[str]) -> dict[str, torch.Tensor]:
        return {
            name: torch.where(found > found.quantile(0.99), float("inf"), found) for name, found in capture(ids, hookpoints).items()
        }

    monkeypatch.setattr(subject, "capture", overflowing)
    message = refusal(subject, coder, texts)
    assert "at 'layers.1' the model itself yields NaN or infinity on" in message
    assert 'set [subject] dtype = "bfloat16" or "float32"' in message
    monkeypatch.setattr(subject, "capture", lambda ids, names: {n: f * float("nan") for n, f in capture(ids, names).items()})
    assert "the model itself yields NaN or infinity on 2," in refusal(subject, coder, texts)


def test_no_text_is_refused(subject: Subject, coder: SparseCoder) -> None:
    with pytest.raises(DataError, match="no text to measure"):
        measure(subject, coder, [], 96)


REPORT = GateReport(
    name="sae",
    architecture="topk",
    rule="topk, the 8 largest",
    d_in=32,
    d_sae=64,
    d_out=32,
    hookpoint="layers.1",
    hookpoint_resolved="layers.1",
    hookpoint_out=None,
    hookpoint_out_resolved=None,
    number_format="float32",
    bos=True,
    bos_said=None,
    n_tokens=10,
    n_first=1,
    n_excluded=0,
    n_not_finite=0,
    excluded_variance_share=0.0,
    norm_limit=1.0,
    fvu=0.5,
    fvu_median=0.5,
    fvu_mean_and_sink=0.9,
    fvu_with_bos=0.5,
    fvu_without_bos=0.5,
    l0=8.0,
    advertised_l0=8.0,
    density={"0.05": 0.0, "0.25": 0.0, "0.5": 0.1, "0.75": 0.2, "0.95": 0.3},
    silent_share=0.0,
    dense_share=0.0,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"fvu": float("nan")},
        {"fvu": float("inf")},
        {"fvu": 1.3},
        {"fvu": 1.0},
        {"fvu": 0.86},
        {"fvu": 0.3, "fvu_mean_and_sink": 0.31},
        {"l0": 41.0},
        {"l0": 1.5},
        {"l0": 0.0, "fvu": 1.0},
        {"dense_share": 0.6, "l0": 60.0},
        {"n_not_finite": 3, "fvu": 1.2, "l0": 60.0},
        {"diagnosis": "it fits elsewhere"},
        {"diagnosis": "it fits elsewhere", "fvu": 1.2, "l0": 60.0},
    ],
)
def test_numbers_that_are_nonsense_are_a_problem_told_once(changes: dict[str, float]) -> None:
    assert REPORT.problems() == []
    assert len(replace(REPORT, **changes).problems()) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"fvu": 0.84}, {"l0": 39.0}, {"l0": 1.7}, {"advertised_l0": None, "l0": 60.0}, {"dense_share": 0.4}]
)
def test_numbers_that_are_only_odd_are_none(changes: dict[str, float]) -> None:
    assert replace(REPORT, **changes).problems() == []  # type: ignore[arg-type]


def test_problems_of_different_causes_are_all_told() -> None:
    found = replace(REPORT, fvu=1.31, l0=60.0).problems()
    assert found == ["FVU is 1.31, worse than predicting the mean", "60.0 features fire per token where its settings say 8"]


def test_the_limit_is_ten_medians(subject: Subject, texts: list[Document]) -> None:
    everything = run_contexts(subject, "layers.1", texts, 96, 4, float("inf"))
    norms = torch.cat([usable_tokens(batch) for batch in everything]).norm(dim=1)
    assert norm_limit(subject, "layers.1", texts, 96) == pytest.approx(OUTLIER_FACTOR * norms.median().item(), rel=0.06)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "relu", "subtract_b_dec": False}, "relu, x W_enc + b_enc where positive"),
        ({"architecture": "jumprelu"}, "jumprelu, (x − b_dec) W_enc + b_enc where above the feature's threshold"),
        ({"decoder_norm": "select"}, "topk, the 8 largest, weighed by their decoder rows' norms, of (x − b_dec) W_enc + b_enc"),
        ({"architecture": "groupmax"}, "groupmax, the largest of each of 8 groups of (x − b_dec) W_enc + b_enc"),
        ({"architecture": "gated"}, "gated, (x − b_dec) W_enc · exp(r_mag) + b_enc where (x − b_dec) W_enc + b_gate is positive"),
        ({"normalisation": "layer_norm", "subtract_b_dec": False}, "of x normalised (layer_norm) W_enc + b_enc"),
        ({"W_skip": torch.zeros(32, 32)}, "where positive, and a linear path past it"),
    ],
)
def test_rules_in_words(coder: SparseCoder, changes: dict[str, object], words: str) -> None:
    assert words in rule_of(replace(coder, **changes))  # type: ignore[arg-type]
