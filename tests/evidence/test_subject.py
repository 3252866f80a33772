import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3Config

from autolabel.config import SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts, usable_tokens
from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from autolabel.hashing import document_hash


def tokens(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 250, shape, generator=torch.Generator().manual_seed(seed))


def documents(subject: Subject, n: int, n_tokens: int = 150) -> list[Document]:
    found = []
    for number in range(n):
        text = " ".join(f"the dog {number} ran {i}" for i in range(n_tokens // 6))
        ids, bounds = subject.encode(text)
        found.append(Document(document_hash(text), number, "source", "train", text, ids, bounds))
    return found


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_activations_are_those_of_a_full_forward_pass(subject: Subject, model_folder: Path, layer: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    ids = tokens((2, 20))
    outputs: list[torch.Tensor] = []
    handle = model.model.layers[layer].register_forward_hook(lambda *args: outputs.append(args[2]))
    with torch.inference_mode():
        hidden = model(ids, output_hidden_states=True).hidden_states
    handle.remove()
    found = subject.activations(ids, f"layers.{layer}")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, outputs[0] if isinstance(outputs[0], torch.Tensor) else outputs[0][0])
    if layer < 3:  # the last entry of hidden_states is normed
        torch.testing.assert_close(found, hidden[layer + 1])


def test_parts_of_a_layer_can_be_read_and_the_prefix_may_be_given(subject: Subject) -> None:
    ids = tokens((1, 8))
    assert subject.activations(ids, "layers.1.mlp").shape == (1, 8, 32)
    assert subject.activations(ids, "layers.1.self_attn").shape == (1, 8, 32)
    assert torch.equal(subject.activations(ids, "model.layers.1"), subject.activations(ids, "layers.1"))


def test_reading_twice_leaves_no_hook_behind(subject: Subject) -> None:
    ids = tokens((1, 8))
    first = subject.activations(ids, "layers.0")
    assert torch.equal(subject.activations(ids, "layers.0"), first)
    layer = subject._base.get_submodule("layers.0")
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_padding_on_the_right_changes_nothing(subject: Subject) -> None:
    ids = tokens((3, 40))
    padded = ids.clone()
    padded[:, 25:] = subject.first_token_id
    torch.testing.assert_close(
        subject.activations(padded, "layers.2")[:, :25], subject.activations(ids[:, :25], "layers.2"), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(subject.activations(padded, "layers.2")[:, :25], subject.activations(ids, "layers.2")[:, :25])


@pytest.mark.parametrize("hookpoint", ["layers.9", "blocks.3", "", "model", "layers"])
def test_an_unknown_hookpoint_lists_the_ones_there_are(subject: Subject, hookpoint: str) -> None:
    if hookpoint == "layers":
        with pytest.raises(DataError, match="never run in a forward pass"):
            subject.activations(tokens((1, 4)), hookpoint)
        return
    with pytest.raises(
        DataError, match=rf"has no module '{hookpoint}'; its hookpoints are layers\.0 … layers\.3 and within each"
    ) as caught:
        subject.require_hookpoint(hookpoint)
    assert "mlp" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"), [({"model": "{tmp}/none"}, "none"), ({"device": "abacus"}, "abacus"), ({"device": "cuda:63"}, "cuda:63")]
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    subject_settings: SubjectSettings, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    settings = subject_settings.model_copy(update={key: value.format(tmp=tmp_path) for key, value in changes.items()})
    with pytest.raises(DataError, match="cannot load the subject model") as caught:
        Subject.load(settings)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ['{"version": "1.0", "model": {"type": "FromTheFuture"}}', "{", "[]"])
def test_a_tokenizer_that_cannot_be_read_is_refused(
    model_folder: Path, subject_settings: SubjectSettings, tmp_path: Path, content: str
) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match="cannot load the subject model"):
        Subject.load(subject_settings.model_copy(update={"model": str(tmp_path / "model")}))


def test_damaged_weights_are_one_line(subject_settings: SubjectSettings, model_folder: Path, tmp_path: Path) -> None:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    with pytest.raises(DataError, match="cannot load the subject model"):
        Subject.load(subject_settings.model_copy(update={"model": str(tmp_path)}))


def test_the_identity_is_name_and_architecture(subject: Subject, model_folder: Path) -> None:
    other = Subject(subject._model, subject._tokenizer, f"/elsewhere/{model_folder.name}/", subject.device)
    assert other.identity == subject.identity
    assert Subject(subject._model, subject._tokenizer, "another", subject.device).identity != subject.identity


def test_a_context_yields_the_same_whatever_shares_its_batch(subject: Subject) -> None:
    def by_context(order: list[Document]) -> dict[tuple[int, int], torch.Tensor]:
        found = {}
        for batch in run_contexts(subject, "layers.1", order, 96, 4, float("inf")):
            assert len(batch.contexts) <= len(batch.activations) == 4
            assert not batch.usable[len(batch.contexts) :].any()
            for row, context in enumerate(batch.contexts):
                assert int(batch.usable[row].sum()) == context.n_tokens
                found[context.document.hash, context.start] = batch.activations[row, : context.n_tokens]
        return found

    some = documents(subject, 7)
    one, two = by_context(some), by_context(some[::-1])
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_first_token_and_outliers_are_left_out(subject: Subject) -> None:
    (one,) = documents(subject, 1, 60)
    everything = list(run_contexts(subject, "layers.1", [one], 96, 4, float("inf")))
    x = torch.cat([usable_tokens(batch) for batch in everything])
    assert len(x) == len(one.token_ids)
    context = everything[0].contexts[0]
    own = one.token_ids[context.start : context.start + context.n_tokens].tolist()
    ids = torch.tensor([[subject.first_token_id, *own]])
    torch.testing.assert_close(
        everything[0].activations[0, : len(own)], subject.activations(ids, "layers.1")[0, 1:], rtol=1e-4, atol=1e-4
    )
    limit = float(np.median(x.norm(dim=1)))
    limited = list(run_contexts(subject, "layers.1", [one], 96, 4, limit))
    kept = torch.cat([usable_tokens(batch) for batch in limited])
    assert kept.norm(dim=1).max() <= limit
    assert len(kept) + sum(batch.n_outliers for batch in limited) == len(x)
    assert 0 < len(kept) < len(x)


def test_without_bos_the_context_starts_with_its_own_first_token(subject: Subject) -> None:
    (one,) = documents(subject, 1, 60)
    (batch, *_) = run_contexts(subject, "layers.1", [one], 96, 1, float("inf"), bos=False)
    context = batch.contexts[0]
    ids = torch.tensor([one.token_ids[context.start : context.start + context.n_tokens].tolist()])
    found = batch.activations[0, : context.n_tokens]
    torch.testing.assert_close(found, subject.activations(ids, "layers.1")[0], rtol=1e-4, atol=1e-4)


def test_several_hookpoints_come_from_one_pass_by_the_names_given(subject: Subject) -> None:
    ids = tokens((2, 9))
    names = ["blocks.2.hook_resid_post", "layers.2", "embed_tokens", "layers.1.mlp.down_proj:input"]
    passes: list[int] = []
    handle = subject._base.register_forward_pre_hook(lambda *_: passes.append(1))
    found = subject.capture(ids, names)
    handle.remove()
    assert len(passes) == 1
    assert list(found) == names
    assert all(torch.equal(found[name], subject.activations(ids, name)) for name in names)
    assert found["layers.2"] is found["blocks.2.hook_resid_post"]


def test_what_is_no_vector_for_each_token_is_refused(subject: Subject) -> None:
    with pytest.raises(DataError, match=r"'rotary_emb' of .* yields a tensor of shape \(1, 9, 8\), not a vector for each token"):
        subject.activations(tokens((2, 9)), "rotary_emb")


def test_what_can_be_read_is_told_from_what_cannot(subject: Subject) -> None:
    assert subject.readable(["layers.0", "layers.1.mlp:input"]) == ["layers.0", "layers.1.mlp:input"]
    names = ["layers", "layers.0", "rotary_emb", "layers.0.mlp:normalized", "norm:normalized", "layers.77"]
    assert subject.readable(names) == ["layers.0", "norm:normalized"]


def test_what_is_captured_stays_in_the_models_number_format(subject_settings: SubjectSettings) -> None:
    low = Subject.load(subject_settings.model_copy(update={"dtype": "bfloat16"}))
    assert low.number_format == "bfloat16"
    assert low.capture(tokens((1, 5)), ["layers.1"])["layers.1"].dtype == torch.bfloat16
    assert low.activations(tokens((1, 5)), "layers.1").dtype == torch.float32


def test_the_identity_has_nothing_of_the_number_format(subject: Subject, subject_settings: SubjectSettings) -> None:
    low = Subject.load(subject_settings.model_copy(update={"dtype": "bfloat16"}))
    assert subject.number_format == "float32"
    assert low.identity == subject.identity


def test_other_hookpoints_are_those_of_the_model(subject: Subject) -> None:
    layers, places = (
        [str(point) for point in found("blocks.1.hook_resid_post")] for found in (subject.other_layers, subject.same_layer)
    )
    assert layers == ["layers.0", "layers.2", "layers.3"]
    assert {"layers.1.mlp", "layers.1.self_attn", "layers.1:input"} <= set(places)
    assert set(subject.capture(tokens((1, 4)), layers + places)) == {*layers, *places}


def test_a_model_that_also_sees_is_read_where_it_reads_text() -> None:
    torch.manual_seed(0)
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    text = {**small, "vocab_size": 300, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0}
    config = Gemma3Config(text_config=text, vision_config={**small, "image_size": 28, "patch_size": 14}, image_token_index=299)
    model = AutoModelForCausalLM.from_config(config).eval()
    seeing = Subject(model, SimpleNamespace(bos_token_id=1), "gemma", torch.device("cpu"))
    ids = tokens((2, 7))
    with torch.inference_mode():
        hidden = model(ids, output_hidden_states=True).hidden_states
    assert seeing.d_model == 16
    assert seeing.hookpoints()[0] == "language_model.layers.0"
    for name in ("layers.0", "blocks.0.hook_resid_post", "model.language_model.layers.0.output"):
        assert str(seeing.resolve(name)) == "language_model.layers.0"
        torch.testing.assert_close(seeing.activations(ids, name), hidden[1])
    torch.testing.assert_close(seeing.activations(ids, "hook_embed"), hidden[0])
    assert [str(point) for point in seeing.other_layers("layers.0")] == ["language_model.layers.1"]
