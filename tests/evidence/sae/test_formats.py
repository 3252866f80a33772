"""Every format against its own library, and what is read out of its settings."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autolabel.errors import DataError
from autolabel.evidence.sae import FORMATS, load_sae, native
from autolabel.evidence.sae.loading import FILE_FORMATS
from tests.evidence.sae.cases import BY_NAME, CASES, HEADER, TOLERANCE, Case, copied, dense, difference, edit, edit_tensors, row

DOCS = Path(__file__).parents[3] / "docs" / "sae-formats.md"
BY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)


@BY_CASE
def test_activations_and_reconstruction_are_those_of_the_formats_own_library(case: Case) -> None:
    found = difference(case)
    assert found.activations <= TOLERANCE
    assert found.reconstruction <= TOLERANCE
    assert found.n_active > 24


@BY_CASE
def test_the_format_is_told_by_the_files(case: Case) -> None:
    assert case.load().format == case.format


def test_every_format_has_a_fixture() -> None:
    assert {case.format for case in CASES} | {"autolabel"} == {known.name for known in (*FORMATS, *FILE_FORMATS)}


def test_no_two_formats_consist_of_the_same_files() -> None:
    pairs = [(known.weights, known.config) for known in FORMATS]
    assert len(set(pairs)) == len(pairs)


def test_the_table_in_the_documentation_is_what_the_fixtures_give() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert HEADER in text
    table = [
        line
        for line in text.splitlines()
        if re.match(r"\| (saelens|sparsify|dictionary_learning|gemma_scope|gemma_scope_2|llama_scope|goodfire|qwen_scope) \|", line)
    ]
    fixed = [row(case)[0] for case in CASES]
    assert [line[: len(start)] for line, start in zip(table, fixed, strict=True)] == fixed
    assert all(line.endswith("| yes |") for line in table)


@pytest.mark.parametrize(
    ("case", "hookpoint", "hookpoint_out", "model", "l0", "bos"),
    [
        ("saelens-topk", "blocks.5.hook_resid_post", None, "gpt2", 6.0, True),
        ("saelens-transcoder", "blocks.5.hook_mlp_in", "blocks.5.hook_mlp_out", "gpt2", None, True),
        ("saelens-old-topk", "blocks.8.hook_resid_pre", None, "gpt2-small", 6.0, True),
        ("sparsify-topk", "layers.3", None, "EleutherAI/pythia-70m", 6.0, None),
        ("sparsify-transcoder", "h.2.mlp:input", "h.2.mlp", "EleutherAI/pythia-70m", 6.0, None),
        (
            "dictionary-learning-BatchTopKSAE",
            "blocks.3.hook_resid_post",
            None,
            "EleutherAI/pythia-70m-deduped",
            6.0,
            None,
        ),
        ("gemma-scope-sae", "blocks.20.hook_resid_post", None, "google/gemma-2-2b", 12.0, True),
        ("gemma-scope-transcoder", "blocks.20.ln2.hook_normalized", "blocks.20.hook_mlp_out", "google/gemma-2-2b", 12.0, True),
        ("gemma-scope-2-sae", "model.layers.9.output", None, "google/gemma-3-270m", 10.0, True),
        (
            "gemma-scope-2-affine-transcoder",
            "model.layers.9.pre_feedforward_layernorm.output",
            "model.layers.9.post_feedforward_layernorm.output",
            "google/gemma-3-270m",
            10.0,
            True,
        ),
        ("llama-scope-2-topk", "blocks.8.ln2.hook_normalized", "blocks.8.hook_mlp_out", "unknown", 6.0, True),
        ("goodfire", "blocks.19.hook_resid_post", None, "meta-llama/Llama-3.1-8B-Instruct", None, True),
        ("qwen-scope", "blocks.5.hook_resid_post", None, "Qwen/Qwen3-1.7B-Base", 6.0, None),
    ],
)
def test_where_it_reads_is_taken_from_its_own_files(
    case: str, hookpoint: str, hookpoint_out: str | None, model: str, l0: float | None, bos: bool | None
) -> None:
    coder = BY_NAME[case].load()
    assert (coder.hookpoint, coder.hookpoint_out, coder.subject_model) == (hookpoint, hookpoint_out, model)
    assert (coder.advertised_l0, coder.prepend_bos) == (l0, bos)
    assert coder.config["activation_scale"] == "raw"


def test_the_scale_of_activations_is_recorded() -> None:
    scales = {case.case: case.load().config["activation_scale"] for case in CASES}
    assert scales.pop("saelens-topk-rescaled") == "times decoder norm"
    assert set(scales.values()) == {"raw"}


def test_all_ids_differ_and_a_copy_has_the_same(tmp_path: Path) -> None:
    assert len({case.load().sae_id("m") for case in CASES}) == len(CASES)
    assert load_sae(str(copied(tmp_path, "saelens-gated"))).sae_id("m") == BY_NAME["saelens-gated"].load().sae_id("m")


def test_a_hookpoint_in_the_settings_replaces_the_one_in_the_files() -> None:
    assert load_sae(str(BY_NAME["saelens-topk"].path), "layers.2").hookpoint == "layers.2"


class TestSaeLens:
    def test_firing_frequencies_give_the_advertised_l0(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-jumprelu")
        save_file({"sparsity": torch.full((48,), -1.0)}, folder / "sparsity.safetensors")
        assert load_sae(str(folder)).advertised_l0 == pytest.approx(4.8)

    @pytest.mark.parametrize("architecture", ["temporal", "matching_pursuit", "abstopk", "nonsense"])
    def test_architectures_that_compute_something_else_are_refused(self, tmp_path: Path, architecture: str) -> None:
        folder = copied(tmp_path, "saelens-standard")
        edit(folder / "cfg.json", architecture=architecture)
        with pytest.raises(DataError, match=rf"cfg\.json': architecture is '{architecture}', expected one of standard, topk"):
            load_sae(str(folder))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"normalize_activations": "covariance_whitening"}, "normalize_activations is 'covariance_whitening'"),
            (
                {"normalize_activations": "expected_average_only_in"},
                "norm_scaling_factor is None, expected the factor of this SAE; SAELens' list",
            ),
            ({"metadata__hook_head_index": 3}, "hook_head_index is 3, expected none"),
            ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is True"),
            ({"activation_fn": "tanh"}, "activation_fn is 'tanh', expected relu or topk"),
            ({"apply_b_dec_to_input": "yes"}, "apply_b_dec_to_input is 'yes', expected true or false"),
            ({"d_in": 17}, "d_in is 17, expected 16, the size of its tensors"),
            ({"d_sae": 10**30}, "d_sae is 1000000000000000000000000000000, expected 48"),
            ({"metadata__model_name": ["a"]}, r"metadata\.model_name is \['a'\], expected a short text"),
        ],
    )
    def test_settings_that_would_be_misread_are_refused(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        folder = copied(tmp_path, "saelens-standard")
        edit(folder / "cfg.json", **changes)
        with pytest.raises(DataError, match=rf"cfg\.json': .*{message}"):
            load_sae(str(folder))

    @pytest.mark.parametrize("k", [None, 0, -1, 49, 10**20, 6.0, "6", True])
    def test_an_absurd_k_is_refused(self, tmp_path: Path, k: Any) -> None:
        folder = copied(tmp_path, "saelens-topk")
        edit(folder / "cfg.json", k=k)
        with pytest.raises(DataError, match=r"k is .*, expected a whole number between 1 and d_sae = 48"):
            load_sae(str(folder))

    def test_a_scaling_factor_of_ones_is_a_remnant_and_any_other_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-standard")
        edit_tensors(folder / "sae_weights.safetensors", scaling_factor=torch.ones(48))
        assert load_sae(str(folder)).weights_hash == BY_NAME["saelens-standard"].load().weights_hash
        edit_tensors(folder / "sae_weights.safetensors", scaling_factor=torch.full((48,), 1.1))
        with pytest.raises(DataError, match="'scaling_factor' is not all ones"):
            load_sae(str(folder))

    @pytest.mark.parametrize(("hook", "centred"), [("blocks.5.hook_resid_pre", True), ("blocks.5.attn.hook_z", False)])
    def test_an_sae_of_a_centred_model_reads_centred_activations(self, tmp_path: Path, hook: str, centred: bool) -> None:
        folder, case = copied(tmp_path, "saelens-standard"), BY_NAME["saelens-standard"]
        model = {"center_writing_weights": True}
        edit(folder / "cfg.json", metadata__model_from_pretrained_kwargs=model, metadata__hook_name=hook)
        x = case.expected()["x"]
        mean = x.mean(1, keepdim=True) if centred else torch.zeros(len(x), 1)
        code, out = load_sae(str(folder)).reconstruct(x)
        of_centred, out_of_centred = case.load().reconstruct(x - mean)
        assert torch.equal(code.values, of_centred.values)
        torch.testing.assert_close(out, out_of_centred + mean)

    def test_centred_and_normalised_at_once_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-standard-layer-norm")
        edit(folder / "cfg.json", metadata__model_from_pretrained_kwargs={"center_writing_weights": True})
        with pytest.raises(DataError, match="normalize_activations is 'layer_norm', expected none where the writing weights"):
            load_sae(str(folder))

    def test_a_transcoder_that_does_not_say_where_it_writes_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-transcoder")
        edit(folder / "cfg.json", metadata__hook_name_out=None)
        with pytest.raises(DataError, match=r"metadata\.hook_name_out is None, expected the hook whose activations"):
            load_sae(str(folder))

    def test_the_name_of_the_transformers_module_is_preferred(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-standard")
        edit(folder / "cfg.json", metadata__hf_hook_name="model.layers.5.output")
        assert load_sae(str(folder)).hookpoint == "model.layers.5.output"

    def test_settings_before_version_6_with_normalisation_need_the_factor(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "saelens-old-topk")
        edit(folder / "cfg.json", normalize_activations=True)
        with pytest.raises(DataError, match="norm_scaling_factor is None"):
            load_sae(str(folder))
        edit(folder / "cfg.json", norm_scaling_factor=0.5)
        assert load_sae(str(folder)).input_scale == 0.5


class TestSparsify:
    def test_a_folder_of_a_seed_belongs_to_the_module_above(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "sparsify-topk")
        (folder / "seed1").mkdir()
        for name in ("cfg.json", "sae.safetensors"):
            (folder / name).rename(folder / "seed1" / name)
        assert load_sae(str(folder / "seed1")).hookpoint == "layers.3"

    def test_a_folder_that_names_no_module_needs_a_hookpoint(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "sparsify-topk").rename(tmp_path / "downloaded")
        with pytest.raises(DataError, match=r"sparsify files in '.*downloaded' do not say which .* set \[sae\] hookpoint"):
            load_sae(str(folder))
        assert load_sae(str(folder), "layers.3").hookpoint == "layers.3"

    def test_a_transcoder_in_such_a_folder_needs_both_ends(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "sparsify-topk").rename(tmp_path / "downloaded")
        edit(folder / "cfg.json", transcode=True)
        for hookpoint in (None, "layers.3.mlp:input"):
            with pytest.raises(DataError, match=r"hold a transcoder .* set \[sae\] hookpoint and hookpoint_out"):
                load_sae(str(folder), hookpoint)
        found = load_sae(str(folder), "layers.3.mlp:input", hookpoint_out="layers.3.mlp")
        assert (found.hookpoint, found.hookpoint_out) == ("layers.3.mlp:input", "layers.3.mlp")

    @pytest.mark.parametrize(
        ("content", "model"),
        [('{"model": {"type": "gpt2"}}', "unknown"), ("no JSON", "unknown"), ("[]", "unknown"), ('{"model": "gpt2"}', "gpt2")],
    )
    def test_a_config_in_the_folder_or_above_is_no_obstacle(self, tmp_path: Path, content: str, model: str) -> None:
        folder = copied(tmp_path, "sparsify-topk")
        for place in (folder, folder.parent):
            (place / "config.json").write_text(content)
        found = load_sae(str(folder))
        assert (found.format, found.subject_model) == ("sparsify", model)

    @pytest.mark.parametrize(
        ("case", "changes", "message"),
        [
            ("sparsify-groupmax", {"k": 7}, "k is 7, expected a divisor of d_sae = 48"),
            ("sparsify-topk", {"activation": "relu"}, "activation is 'relu', expected topk or groupmax"),
            ("sparsify-topk", {"k": 10**9}, "k is 1000000000, expected a whole number"),
            ("sparsify-topk", {"num_latents": 64}, "num_latents is 64, expected 48"),
            ("sparsify-topk", {"d_in": 8}, "d_in is 8, expected 16"),
            ("sparsify-topk", {"signed": True}, "signed is True, expected false"),
            ("sparsify-topk", {"transcode": 1}, "transcode is 1, expected true or false"),
        ],
    )
    def test_settings_that_contradict_the_tensors_are_refused(
        self, tmp_path: Path, case: str, changes: dict[str, Any], message: str
    ) -> None:
        folder = copied(tmp_path, case)
        edit(folder / "cfg.json", **changes)
        with pytest.raises(DataError, match=rf"cfg\.json': {message}"):
            load_sae(str(folder))

    def test_its_own_rules_hold_where_another_loader_differs(self) -> None:
        """The decoder as it lies in the file, b_dec subtracted although the decoder is said to be normalised."""
        coder = BY_NAME["sparsify-topk"].load()
        assert torch.equal(coder.W_dec, load_file(BY_NAME["sparsify-topk"].path / "sae.safetensors")["W_dec"])
        assert coder.config["normalize_decoder"] is True
        assert coder.subtract_b_dec


class TestDictionaryLearning:
    @pytest.mark.parametrize(
        ("changes", "hookpoint"),
        [
            ({"trainer__submodule_name": "mlp_out_layer_4"}, "blocks.4.mlp.hook_out"),
            ({"trainer__submodule_name": "attention_out_layer_4"}, "blocks.4.attn.hook_out"),
            ({"trainer__submodule_name": "gpt_neox.layers.3"}, "gpt_neox.layers.3"),
            ({"trainer__submodule_name": None}, ""),
            ({"trainer__submodule_name": "somewhere_layer_4"}, ""),
            ({"buffer__io": "in"}, ""),
        ],
    )
    def test_the_hook_follows_from_layer_and_submodule_or_is_asked_for(
        self, tmp_path: Path, changes: dict[str, Any], hookpoint: str
    ) -> None:
        folder = copied(tmp_path, "dictionary-learning-AutoEncoder")
        edit(folder / "config.json", **changes)
        if hookpoint:
            assert load_sae(str(folder)).hookpoint == hookpoint
        else:
            with pytest.raises(DataError, match=r"do not say which activations the SAE reads; set \[sae\] hookpoint"):
                load_sae(str(folder))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"trainer__dict_class": "CrossCoder"}, r"trainer\.dict_class is 'CrossCoder', expected one of AutoEncoder, "),
            ({"trainer__k": 5}, r"trainer\.k is 5, expected 6, the k kept in ae\.pt"),
            ({"trainer__k": 1000}, r"trainer\.k is 1000, expected a whole number between 1 and d_sae = 48"),
            ({"trainer__activation_dim": 48}, r"trainer\.activation_dim is 48, expected 16"),
            ({"trainer": "none"}, r"trainer\.dict_class is None"),
        ],
    )
    def test_settings_that_contradict_the_tensors_are_refused(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        folder = copied(tmp_path, "dictionary-learning-AutoEncoderTopK")
        edit(folder / "config.json", **changes)
        with pytest.raises(DataError, match=message):
            load_sae(str(folder))

    def test_a_threshold_that_was_never_set_lets_every_positive_value_through(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "dictionary-learning-BatchTopKSAE")
        state = torch.load(folder / "ae.pt", weights_only=True)
        torch.save(state | {"threshold": torch.tensor(-1.0)}, folder / "ae.pt")
        case = BY_NAME["dictionary-learning-BatchTopKSAE"]
        x = case.expected()["x"]
        coder = case.load()
        assert torch.equal(dense(load_sae(str(folder)), x), ((x - coder.b_dec) @ coder.W_enc + coder.b_enc).relu())


class TestGemmaScope:
    def test_embedding_saes_read_the_embedding(self, tmp_path: Path) -> None:
        folder = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k" / "average_l0_5"
        shutil.copytree(BY_NAME["gemma-scope-sae"].path, folder)
        assert load_sae(str(folder)).hookpoint == "hook_embed"

    @pytest.mark.parametrize(
        ("repository", "hookpoint", "model"),
        [
            ("gemma-scope-9b-it-res", "blocks.20.hook_resid_post", "google/gemma-2-9b-it"),
            ("gemma-scope-27b-pt-mlp", "blocks.20.hook_mlp_out", "google/gemma-2-27b"),
            ("gemma-scope-2b-pt-att", "blocks.20.attn.hook_z", "google/gemma-2-2b"),
            ("models--google--gemma-scope-2b-pt-res/snapshots/0123", "blocks.20.hook_resid_post", "google/gemma-2-2b"),
        ],
    )
    def test_repository_and_layer_are_read_off_the_path(self, tmp_path: Path, repository: str, hookpoint: str, model: str) -> None:
        folder = tmp_path / repository / "layer_20" / "width_16k" / "canonical"
        shutil.copytree(BY_NAME["gemma-scope-sae"].path, folder)
        coder = load_sae(str(folder))
        assert (coder.hookpoint, coder.subject_model, coder.advertised_l0) == (hookpoint, model, None)
        if "snapshots" in repository:
            assert coder.name == "google/gemma-scope-2b-pt-res/layer_20/width_16k/canonical"

    def test_a_path_that_says_nothing_needs_a_hookpoint(self, tmp_path: Path) -> None:
        shutil.copytree(BY_NAME["gemma-scope-sae"].path, tmp_path / "mine")
        with pytest.raises(DataError, match=r"gemma_scope files in '.*mine' do not say"):
            load_sae(str(tmp_path / "mine"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"architecture": "topk"}, "architecture is 'topk', expected jump_relu"),
            ({"affine_connection": True}, "lacks the tensor 'affine_skip_connection'"),
            ({"hf_hook_point_in": 9}, "hf_hook_point_in is 9, expected a short text"),
        ],
    )
    def test_settings_of_the_second_release_are_checked(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        folder = copied(tmp_path, "gemma-scope-2-sae")
        edit(folder / "config.json", **changes)
        with pytest.raises(DataError, match=message):
            load_sae(str(folder))

    @pytest.mark.parametrize("l0", ["small", None, [1]])
    def test_a_size_in_words_advertises_no_l0(self, tmp_path: Path, l0: Any) -> None:
        folder = copied(tmp_path, "gemma-scope-2-sae")
        edit(folder / "config.json", l0=l0)
        assert load_sae(str(folder)).advertised_l0 is None

    def test_an_affine_transcoder_without_its_linear_path_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "gemma-scope-2-affine-transcoder")
        edit_tensors(folder / "params.safetensors", affine_skip_connection=None)
        with pytest.raises(DataError, match="lacks the tensor 'affine_skip_connection'"):
            load_sae(str(folder))


class TestLlamaScope:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"act_fn": "batchtopk"}, "act_fn is 'batchtopk', expected relu, jumprelu or topk; convert it to jumprelu"),
            ({"act_fn": "swish"}, "act_fn is 'swish'"),
            ({"sae_type": "crosscoder"}, "sae_type is 'crosscoder', expected sae"),
            ({"use_glu_encoder": True}, "use_glu_encoder is True"),
            ({"norm_activation": "batch-wise"}, "norm_activation is 'batch-wise'"),
            ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise', .* where input and output hook are the same"),
            ({"expansion_factor": 8}, "expansion_factor is 8, expected 3"),
            ({"d_model": 4096}, "d_model is 4096, expected 16"),
            ({"top_k": 0}, "top_k is 0, expected a whole number"),
        ],
    )
    def test_settings_that_would_be_misread_are_refused(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        folder = copied(tmp_path, "llama-scope-2-topk")
        edit(folder / "config.json", **changes)
        with pytest.raises(DataError, match=message):
            load_sae(str(folder))

    def test_a_norm_that_is_nowhere_is_asked_for(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "llama-scope-2-topk")
        edit_tensors(folder / "sae_weights.safetensors", **{"dataset_average_activation_norm.blocks.8.ln2.hook_normalized": None})
        with pytest.raises(DataError, match=r"dataset_average_activation_norm\.in is None, expected a number greater than 0"):
            load_sae(str(folder))

    @pytest.mark.parametrize("norm", [0.0, -3.0])
    def test_a_norm_that_is_not_positive_is_refused(self, tmp_path: Path, norm: float) -> None:
        folder = copied(tmp_path, "llama-scope-2-topk")
        name = "dataset_average_activation_norm.blocks.8.ln2.hook_normalized"
        edit_tensors(folder / "sae_weights.safetensors", **{name: torch.tensor(norm)})
        with pytest.raises(DataError, match=rf"hook_normalized' is {norm}, expected a number greater than 0"):
            load_sae(str(folder))

    def test_k_says_how_many_are_active_only_where_k_is_used(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "llama-scope-2-jumprelu")
        edit(folder / "config.json", top_k=50)
        assert load_sae(str(folder)).advertised_l0 is None

    def test_without_normalisation_and_decoder_bias(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "llama-scope-2-jumprelu")
        edit(folder / "config.json", norm_activation="inference", use_decoder_bias=False, act_fn="relu")
        coder = load_sae(str(folder))
        x = BY_NAME["llama-scope-2-jumprelu"].expected()["x"]
        torch.testing.assert_close(dense(coder, x), (x @ coder.W_enc + coder.b_enc).relu())
        torch.testing.assert_close(coder.reconstruct(x)[1], dense(coder, x) @ coder.W_dec)

    def test_a_jump_relu_without_threshold_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "llama-scope-first")
        edit(folder / "hyperparams.json", jump_relu_threshold=None)
        with pytest.raises(DataError, match=r"jump_relu_threshold is None, expected a number of at least 0, or a tensor"):
            load_sae(str(folder))


class TestSingleFiles:
    def test_qwen_scope_needs_the_name_of_its_repository(self, tmp_path: Path) -> None:
        path = copied(tmp_path, "qwen-scope").rename(tmp_path / "layer5.sae.pt")
        with pytest.raises(
            DataError, match=r"nothing says the k of '.*layer5\.sae\.pt'; keep it in a folder named as its repository"
        ):
            load_sae(str(path))

    @pytest.mark.parametrize("k", [0, 49, 999999])
    def test_an_absurd_k_in_the_path_is_refused(self, tmp_path: Path, k: int) -> None:
        folder = tmp_path / f"SAE-Res-Qwen3-8B-Base-W64K-L0_{k}"
        folder.mkdir()
        path = copied(tmp_path, "qwen-scope").rename(folder / "layer5.sae.pt")
        with pytest.raises(DataError, match=rf"says k = {k}, expected between 1 and d_sae = 48"):
            load_sae(str(path))

    def test_a_file_of_a_folder_format_asks_for_the_folder(self) -> None:
        path = BY_NAME["saelens-topk"].path / "cfg.json"
        with pytest.raises(
            DataError, match=r"cfg\.json' is a file; \[sae\] path must name the folder it lies in, unless it is one of"
        ):
            load_sae(str(path))


def test_a_coder_of_another_rule_is_not_saved_in_our_format(tmp_path: Path) -> None:
    coder = BY_NAME["saelens-standard-no-b-dec"].load()
    with pytest.raises(DataError, match="is no plain top-k or ReLU SAE"):
        native.save(tmp_path / "sae", coder)
    assert not (tmp_path / "sae").exists()
