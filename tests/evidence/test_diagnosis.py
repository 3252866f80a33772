"""The gate catches, by name, each mistake that is easily made in loading an SAE (Show 6)."""

from dataclasses import replace

import pytest
import torch

from autolabel.evidence.corpus import Document
from autolabel.evidence.diagnosis import variants
from autolabel.evidence.gate import measure, require_pass
from autolabel.evidence.hooks import Hookpoint
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.subject import Subject
from tests.evidence.fitting import D_MODEL, fitted, transcoder
from tests.evidence.test_gate import refusal
from tests.evidence.test_subject import documents


@pytest.fixture(scope="module")
def texts(subject: Subject) -> list[Document]:
    return documents(subject, 20)


@pytest.fixture(scope="module")
def coder(subject: Subject, texts: list[Document]) -> SparseCoder:
    return fitted(subject, texts)


@pytest.mark.parametrize(
    "hookpoint", ["layers.0", "layers.1", "layers.3", "layers.1.mlp", "layers.2.self_attn", "layers.1.mlp:input"]
)
def test_an_sae_read_where_it_was_made_passes(subject: Subject, texts: list[Document], hookpoint: str) -> None:
    report = measure(subject, fitted(subject, texts, hookpoint), texts, 96)
    assert report.problems() == []


def test_a_transposed_encoder(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    message = refusal(subject, replace(coder, W_enc=coder.W_enc.T.contiguous()), texts)
    assert (
        "FVU is 1.31, worse than predicting the mean; it fits with W_enc transposed (FVU 0.18 instead of 1.31): transpose it"
        in message
    )


def test_a_transposed_decoder(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    message = refusal(subject, replace(coder, W_dec=coder.W_dec.T.contiguous()), texts)
    assert "it fits with W_dec transposed (FVU 0.18 instead of" in message


def test_both_transposed(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    both = replace(coder, W_enc=coder.W_enc.T.contiguous(), W_dec=coder.W_dec.T.contiguous())
    assert "it fits with W_enc and W_dec transposed (FVU 0.18 instead of" in refusal(subject, both, texts)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_wrong_layer(subject: Subject, texts: list[Document], coder: SparseCoder, layer: int) -> None:
    message = refusal(subject, replace(coder, hookpoint=f"layers.{layer}"), texts)
    assert "it fits at layers.1 (FVU 0.18 instead of 0." in message
    assert message.endswith(': set [sae] hookpoint = "layers.1", or pass --force')


def test_an_mlp_read_as_the_residual_stream(subject: Subject, texts: list[Document]) -> None:
    message = refusal(subject, replace(fitted(subject, texts, "layers.1.mlp"), hookpoint="blocks.1.hook_resid_post"), texts)
    assert "it fits at layers.1.mlp (FVU 0.15 instead of 0." in message
    assert 'set [sae] hookpoint = "layers.1.mlp"' in message


def test_the_input_of_an_mlp_read_as_its_output(subject: Subject, texts: list[Document]) -> None:
    message = refusal(subject, replace(fitted(subject, texts, "layers.2.mlp:input"), hookpoint="layers.2.mlp"), texts)
    assert 'set [sae] hookpoint = "layers.2.mlp:input"' in message


def test_b_dec_subtracted_when_it_must_not_be(subject: Subject, texts: list[Document]) -> None:
    plain = fitted(subject, texts, subtract_b_dec=False)
    assert measure(subject, plain, texts, 96).problems() == []
    message = refusal(subject, replace(plain, subtract_b_dec=True), texts)
    assert "it fits with b_dec not subtracted from the input (FVU 0.18 instead of 0." in message
    assert "correct that in the SAE's files" in message
    saelens = refusal(subject, replace(plain, subtract_b_dec=True, format="saelens"), texts)
    assert 'set "apply_b_dec_to_input": false in its cfg.json' in saelens


def test_b_dec_not_subtracted_when_it_must_be(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    message = refusal(subject, replace(coder, subtract_b_dec=False), texts)
    assert "it fits with b_dec subtracted from the input (FVU 0.18 instead of 0." in message


def test_contexts_with_bos_where_it_was_trained_without(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    found = {variant.where: variant for variant in variants(subject, replace(coder, prepend_bos=True, format="saelens"))}
    assert found["without BOS"].coder.prepend_bos is False
    assert found["without BOS"].remedy == 'set "prepend_bos": false in its cfg.json'
    back = {variant.where: variant for variant in variants(subject, replace(coder, prepend_bos=False))}
    assert back["with BOS"].coder.prepend_bos is True


def test_a_refused_sae_that_fits_without_bos_is_told_so(
    subject: Subject, texts: list[Document], coder: SparseCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = subject.capture

    def turned_after_bos(ids: torch.Tensor, hookpoints: list[str]) -> dict[str, torch.Tensor]:
        found = capture(ids, hookpoints)
        if not (ids[:, 0] == subject.first_token_id).all():
            return found
        return {name: at.roll(1, dims=-1) for name, at in found.items()}

    monkeypatch.setattr(subject, "capture", turned_after_bos)
    assert "it fits without BOS (FVU 0." in refusal(subject, coder, texts)


def test_a_transcoder_of_another_layer(subject: Subject, texts: list[Document]) -> None:
    wrong = replace(transcoder(subject, texts, 1), hookpoint="layers.2.mlp:input", hookpoint_out="layers.2.mlp")
    message = refusal(subject, wrong, texts)
    assert "it fits from layers.1.mlp:input to layers.1.mlp (FVU 0." in message
    assert "correct the hook names in its files" in message


def test_a_transcoder_that_reads_the_wrong_place(subject: Subject, texts: list[Document]) -> None:
    message = refusal(subject, replace(transcoder(subject, texts, 1), hookpoint="layers.1"), texts)
    assert "it fits reading layers.1.mlp:input (FVU 0." in message
    assert 'set [sae] hookpoint = "layers.1.mlp:input"' in message


def test_where_nothing_fits_nothing_is_suggested(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    noise = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(5))
    message = refusal(subject, replace(coder, W_enc=noise, W_dec=noise.flip(0)), texts)
    assert "it fits" not in message
    assert message.endswith("; check [sae] path and hookpoint, or pass --force")


def test_what_has_problems_of_its_own_is_not_suggested(subject: Subject, texts: list[Document], coder: SparseCoder) -> None:
    message = refusal(subject, replace(coder, hookpoint="layers.2", advertised_l0=60.0), texts)
    assert "8.0 features fire per token where its settings say 60" in message
    assert "it fits" not in message


def test_an_l0_that_is_off_is_not_explained_by_a_place_that_fits_as_well(
    subject: Subject, texts: list[Document], coder: SparseCoder
) -> None:
    message = refusal(subject, replace(coder, advertised_l0=1.5), texts)
    assert message.endswith(
        ": 8.0 features fire per token where its settings say 2; check [sae] path and hookpoint, or pass --force"
    )


def test_places_that_cannot_be_read_are_passed_over(
    subject: Subject, texts: list[Document], coder: SparseCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = [Hookpoint("layers"), Hookpoint("rotary_emb"), Hookpoint("layers.1.mlp", "normalized")]
    monkeypatch.setattr(subject, "same_layer", lambda _name: unreadable)
    assert measure(subject, coder, texts, 96).problems() == []
    assert "it fits at layers.1" in refusal(subject, replace(coder, hookpoint="layers.2"), texts)


def test_a_hookpoint_outside_the_layers_is_compared_with_the_first(
    subject: Subject, texts: list[Document], coder: SparseCoder
) -> None:
    wrong = replace(fitted(subject, texts, "layers.0"), hookpoint="embed_tokens")
    assert 'set [sae] hookpoint = "layers.0"' in refusal(subject, wrong, texts)
    require_pass(measure(subject, fitted(subject, texts, "embed_tokens"), texts, 96), "embeddings")
