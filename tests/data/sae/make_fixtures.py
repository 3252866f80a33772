"""Writes the fixtures beside this file: tiny SAEs as each format's own library saves them, and what that library computes with them.

Run it in an environment of its own, which nothing else of autolabel needs:

    pip install torch==2.13.0 sae-lens==6.54.12 eai-sparsify==1.3.3
    pip install --no-deps dictionary-learning==0.1.0
    PYTHONHASHSEED=0 python tests/data/sae/make_fixtures.py

For every case it writes a folder with the SAE and `expected.safetensors` with an input `x`, the activations `acts` and the
reconstruction `out`, and one line in `cases.json`. Where no library writes a format, the files are made from its description and
`made_by` says who computed the expectation: sae-lens' own loader and module, or the formulas in this file in float64.
"""

import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
CASES = HERE / "cases"
D_IN, D_SAE, D_OUT, N_TOKENS, K = 16, 48, 12, 24, 6
SAE_LENS, SPARSIFY, DICTIONARY_LEARNING = "sae-lens 6.54.12", "eai-sparsify 1.3.3", "dictionary-learning 0.1.0"
READ_BY_SAE_LENS = f"description; computed by {SAE_LENS}"
FORMULAS = "description; computed by formulas in float64"

cases: list[dict[str, str]] = []


def record(case: str, format_name: str, architecture: str, folder: Path, made_by: str, x: Any, acts: Any, out: Any) -> None:
    """Write what is expected of a case and note it in the list."""
    tensors = {"x": x, "acts": acts, "out": out}
    plain = {name: torch.as_tensor(value).detach().to(torch.float32).contiguous() for name, value in tensors.items()}
    assert plain["acts"].count_nonzero() > N_TOKENS, f"{case} hardly fires"
    assert plain["acts"].count_nonzero() < 0.7 * plain["acts"].numel(), f"{case} is dense"
    save_file(plain, CASES / case / "expected.safetensors")
    relative = folder.relative_to(HERE).as_posix()
    cases.append({"case": case, "format": format_name, "architecture": architecture, "folder": relative, "made_by": made_by})


def inputs(seed: int, d_in: int = D_IN) -> torch.Tensor:
    """Activations with a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(N_TOKENS, d_in, generator=generator) + torch.randn(d_in, generator=generator)


def scatter(module: torch.nn.Module, seed: int) -> None:
    """Random parameters in which nothing is zero, unit or the transpose of something else; thresholds positive."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        size = 0.3 if parameter.dim() == 2 else 0.2
        parameter.data = (values * size).to(parameter.dtype) if "threshold" not in name else 0.5 + 0.2 * values.abs()


def write_json(path: Path, content: Any) -> None:
    """Write JSON with a line end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def make_sae_lens() -> None:
    """SAEs that sae-lens saves, and an old settings file that it converts."""
    import sae_lens as lens

    hook = {"model_name": "gpt2", "hook_name": "blocks.5.hook_resid_post", "prepend_bos": True}
    out_hook = {**hook, "hook_name": "blocks.5.hook_mlp_in", "hook_name_out": "blocks.5.hook_mlp_out"}
    size = {"d_in": D_IN, "d_sae": D_SAE}
    wide = {**size, "d_out": D_OUT, "apply_b_dec_to_input": False}
    plain = [
        ("standard", lens.StandardSAE, lens.StandardSAEConfig, size, hook),
        ("standard-no-b-dec", lens.StandardSAE, lens.StandardSAEConfig, {**size, "apply_b_dec_to_input": False}, hook),
        ("standard-layer-norm", lens.StandardSAE, lens.StandardSAEConfig, {**size, "normalize_activations": "layer_norm"}, hook),
        (
            "standard-norm-rescale",
            lens.StandardSAE,
            lens.StandardSAEConfig,
            {**size, "normalize_activations": "constant_norm_rescale"},
            hook,
        ),
        ("topk", lens.TopKSAE, lens.TopKSAEConfig, {**size, "k": K}, hook),
        ("topk-rescaled", lens.TopKSAE, lens.TopKSAEConfig, {**size, "k": K, "rescale_acts_by_decoder_norm": True}, hook),
        ("jumprelu", lens.JumpReLUSAE, lens.JumpReLUSAEConfig, size, hook),
        ("gated", lens.GatedSAE, lens.GatedSAEConfig, size, hook),
        ("transcoder", lens.Transcoder, lens.TranscoderConfig, wide, out_hook),
        ("skip-transcoder", lens.SkipTranscoder, lens.SkipTranscoderConfig, wide, out_hook),
        ("jumprelu-transcoder", lens.JumpReLUTranscoder, lens.JumpReLUTranscoderConfig, wide, out_hook),
        ("jumprelu-skip-transcoder", lens.JumpReLUSkipTranscoder, lens.JumpReLUSkipTranscoderConfig, wide, out_hook),
    ]
    for seed, (name, sae_class, config_class, arguments, metadata) in enumerate(plain):
        sae = sae_class(config_class(**arguments, metadata=lens.saes.sae.SAEMetadata(**metadata)))
        scatter(sae, seed)
        folder = CASES / f"saelens-{name}" / "sae"
        sae.save_model(folder)
        x = inputs(seed)
        record(f"saelens-{name}", "saelens", name, folder, SAE_LENS, x, sae.encode(x), sae(x))
    make_sae_lens_batchtopk(lens, hook)
    make_sae_lens_old(lens)
    make_sae_lens_scaled(lens, hook)
    make_sae_lens_heads(lens, hook)


def make_sae_lens_batchtopk(lens: Any, metadata: dict[str, Any]) -> None:
    """SAEs trained with batch top-k, which are saved with thresholds."""
    from sae_lens.saes import batchtopk_sae, matryoshka_batchtopk_sae

    kinds = [
        ("batchtopk", batchtopk_sae.BatchTopKTrainingSAE, batchtopk_sae.BatchTopKTrainingSAEConfig, {}),
        (
            "matryoshka",
            matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAE,
            matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAEConfig,
            {"matryoshka_widths": [16, D_SAE]},
        ),
    ]
    for seed, (name, sae_class, config_class, more) in enumerate(kinds, start=100):
        config = config_class(d_in=D_IN, d_sae=D_SAE, k=K, metadata=lens.saes.sae.SAEMetadata(**metadata), **more)
        training = sae_class(config)
        scatter(training, seed)
        training.topk_threshold.fill_(0.9)
        folder = CASES / f"saelens-{name}" / "sae"
        training.save_inference_model(folder)
        sae = lens.SAE.load_from_disk(folder)
        x = inputs(seed)
        record(
            f"saelens-{name}", "saelens", f"{name} saved as {sae.cfg.architecture()}", folder, SAE_LENS, x, sae.encode(x), sae(x)
        )


def make_sae_lens_old(lens: Any) -> None:
    """A flat settings file of the time before version 6, under its old names, with a top-k activation."""
    folder = CASES / "saelens-old-topk" / "sae"
    sae = lens.TopKSAE(lens.TopKSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K))
    scatter(sae, 200)
    sae.save_model(folder)
    flat = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "gpt2-small",
        "hook_point": "blocks.8.hook_resid_pre",
        "hook_point_head_index": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": False,
        "sae_lens_version": "3.14.0",
    }
    write_json(folder / "cfg.json", flat)
    sae = lens.SAE.load_from_disk(folder)
    x = inputs(200)
    record("saelens-old-topk", "saelens", "topk, settings before version 6", folder, SAE_LENS, x, sae.encode(x), sae(x))


def make_sae_lens_scaled(lens: Any, metadata: dict[str, Any]) -> None:
    """An SAE whose scale factor is not yet folded in; sae-lens folds it before use."""
    folder = CASES / "saelens-scaled" / "sae"
    arguments = {"normalize_activations": "expected_average_only_in", "metadata": lens.saes.sae.SAEMetadata(**metadata)}
    sae = lens.StandardSAE(lens.StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, **arguments))
    scatter(sae, 201)
    sae.save_model(folder)
    write_json(folder / "cfg.json", json.loads((folder / "cfg.json").read_text()) | {"norm_scaling_factor": 0.7})
    sae.fold_activation_norm_scaling_factor(0.7)
    x = inputs(201)
    record("saelens-scaled", "saelens", "standard, expected_average_only_in", folder, SAE_LENS, x, sae.encode(x), sae(x))


def make_sae_lens_heads(lens: Any, metadata: dict[str, Any]) -> None:
    """An SAE of all attention heads together, which sae-lens feeds with one axis more."""
    folder, heads = CASES / "saelens-hook-z" / "sae", (N_TOKENS, 4, D_IN // 4)
    of_heads = lens.saes.sae.SAEMetadata(**metadata | {"hook_name": "blocks.5.attn.hook_z"})
    sae = lens.StandardSAE(lens.StandardSAEConfig(d_in=D_IN, d_sae=D_SAE, reshape_activations="hook_z", metadata=of_heads))
    scatter(sae, 202)
    sae.save_model(folder)
    x = inputs(202)
    out = sae(x.view(heads)).reshape(N_TOKENS, D_IN)
    record("saelens-hook-z", "saelens", "standard, all heads (hook_z)", folder, SAE_LENS, x, sae.encode(x.view(heads)), out)


def make_sparsify() -> None:
    """SAEs and transcoders that sparsify saves, in folders named after modules."""
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig

    kinds = [
        ("topk", "layers.3", {}),
        ("groupmax", "layers.3.mlp", {"activation": "groupmax"}),
        ("transcoder", "h.2.mlp", {"transcode": True}),
        ("skip-transcoder", "layers.0.mlp", {"transcode": True, "skip_connection": True}),
    ]
    for seed, (name, module, arguments) in enumerate(kinds, start=300):
        coder = SparseCoder(D_IN, SparseCoderConfig(num_latents=D_SAE, k=K, **arguments))
        scatter(coder, seed)
        folder = CASES / f"sparsify-{name}" / module
        coder.save_to_disk(folder)
        write_json(folder.parent / "config.json", {"model": "EleutherAI/pythia-70m", "dataset": "none", "ctx_len": 64})
        x = inputs(seed)
        values, features, _ = coder.encode(x)
        acts = torch.zeros(N_TOKENS, D_SAE).scatter_(1, features, values)
        record(f"sparsify-{name}", "sparsify", name, folder, SPARSIFY, x, acts, coder(x, x).sae_out)


def make_dictionary_learning() -> None:
    """State of each module class of dictionary_learning, with the settings its trainers write."""
    # The package imports nnsight for its buffer of activations; its module classes need nothing of it.
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))  # type: ignore[arg-type]
    from dictionary_learning import dictionary as dl
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kinds: list[tuple[type, tuple[Any, ...]]] = [
        (dl.AutoEncoder, ()),
        (dl.AutoEncoderNew, ()),
        (dl.GatedAutoEncoder, ()),
        (dl.JumpReluAutoEncoder, ()),
        (AutoEncoderTopK, (K,)),
        (BatchTopKSAE, (K,)),
        (MatryoshkaBatchTopKSAE, (K, [16, 32])),
    ]
    for seed, (kind, more) in enumerate(kinds, start=400):
        module = kind(D_IN, D_SAE, *more)
        scatter(module, seed)
        if more and kind is not AutoEncoderTopK:
            module.threshold.fill_(0.9)
        case = f"dictionary-learning-{kind.__name__}"
        folder = CASES / case / "trainer_0"
        folder.mkdir(parents=True)
        torch.save(module.state_dict(), folder / "ae.pt")
        trainer = {"dict_class": kind.__name__, "activation_dim": D_IN, "dict_size": D_SAE, "k": K if more else None}
        where = {"layer": 3, "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "resid_post_layer_3"}
        write_json(folder / "config.json", {"trainer": trainer | where, "buffer": {"ctx_len": 128, "io": "out"}})
        x = inputs(seed)
        record(case, "dictionary_learning", kind.__name__, folder, DICTIONARY_LEARNING, x, module.encode(x), module(x))


def tensors(seed: int, d_out: int = D_IN) -> dict[str, torch.Tensor]:
    """Random weights in our form, with thresholds."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, d_out), "b_dec": (d_out,), "skip": (D_IN, d_out)}
    made = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return made | {"threshold": 0.5 + 0.3 * torch.rand(D_SAE, generator=generator)}


def through_sae_lens(loader: Callable[..., Any], repository: str, folder: str, root: Path, fold: float = 1.0) -> Any:
    """The module that sae-lens builds from files of a repository that lies in `root`."""
    import sae_lens as lens
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors import safe_open

    def download(_repo: str, filename: str, subfolder: str = "", **_: Any) -> str:
        return str(root / subfolder / filename)

    def shapes(_repo: str, filename: str) -> dict[str, list[int]]:
        with safe_open(root / filename, framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def positional(repo_id: str, filename: str, **more: Any) -> str:
        return download(repo_id, filename, **more)

    loaders.hf_hub_download = positional
    loaders.get_safetensors_tensor_shapes = shapes
    config, state, _ = loader(repository, folder, cfg_overrides={"dtype": "float32", "d_in": D_IN, "d_out": D_IN, "d_sae": D_SAE})
    config = loaders.handle_config_defaulting(config)
    sae_class, config_class = lens.registry.get_sae_class(config["architecture"])
    sae = sae_class(config_class.from_dict(config))
    sae.load_state_dict(state)
    if fold != 1.0:
        sae.fold_activation_norm_scaling_factor(fold)
    return sae


def make_gemma_scope() -> None:
    """Both releases of Gemma Scope, as sae-lens reads them."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    first = [
        ("sae", "google/gemma-scope-2b-pt-res", loaders.gemma_2_sae_huggingface_loader),
        ("transcoder", "google/gemma-scope-2b-pt-transcoders", loaders.gemma_2_transcoder_huggingface_loader),
    ]
    for seed, (name, repository, loader) in enumerate(first, start=500):
        weights = tensors(seed)
        root = CASES / f"gemma-scope-{name}" / repository.split("/")[1]
        folder = "layer_20/width_16k/average_l0_12"
        (root / folder).mkdir(parents=True)
        kept = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
        np.savez(root / folder / "params.npz", **{key: weights[key].numpy() for key in kept})
        sae = through_sae_lens(loader, repository, folder, root)
        x = inputs(seed)
        record(f"gemma-scope-{name}", "gemma_scope", name, root / folder, READ_BY_SAE_LENS, x, sae.encode(x), sae(x))
    second = [
        ("sae", "resid_post/layer_9_width_16k_l0_small", "model.layers.9.output", None),
        ("attention", "attn_out/layer_9_width_16k_l0_small", "model.layers.9.self_attn.o_proj.input", None),
        (
            "affine-transcoder",
            "transcoder/layer_9_width_16k_l0_small_affine",
            "model.layers.9.pre_feedforward_layernorm.output",
            "model.layers.9.post_feedforward_layernorm.output",
        ),
    ]
    for seed, (name, folder, into, out) in enumerate(second, start=520):
        weights = tensors(seed)
        root = CASES / f"gemma-scope-2-{name}" / "gemma-scope-2-270m-pt"
        (root / folder).mkdir(parents=True)
        saved = {key.lower(): weights[key] for key in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
        settings = {"architecture": "jump_relu", "model_name": "gemma-v3-270m-pt", "hf_hook_point_in": into, "l0": 10}
        if out:
            saved["affine_skip_connection"] = weights["skip"]
            settings |= {"hf_hook_point_out": out, "affine_connection": True}
        save_file(saved, root / folder / "params.safetensors")
        write_json(root / folder / "config.json", settings)
        sae = through_sae_lens(loaders.gemma_3_sae_huggingface_loader, "google/gemma-scope-2-270m-pt", folder, root)
        x = inputs(seed)
        record(f"gemma-scope-2-{name}", "gemma_scope_2", name, root / folder, READ_BY_SAE_LENS, x, sae.encode(x), sae(x))


def make_single_files() -> None:
    """Goodfire's and Qwen Scope's SAEs, each a file on its own, as sae-lens reads them."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    weights = tensors(540)
    goodfire = {
        "encoder_linear.weight": weights["W_enc"].T.contiguous(),
        "encoder_linear.bias": weights["b_enc"],
        "decoder_linear.weight": weights["W_dec"].T.contiguous(),
        "decoder_linear.bias": weights["b_dec"],
    }
    qwen = {"W_enc": weights["W_enc"].T.contiguous(), "W_dec": weights["W_dec"].T.contiguous()}
    qwen |= {"b_enc": weights["b_enc"], "b_dec": weights["b_dec"]}
    kinds: list[tuple[str, str, str, str, dict[str, torch.Tensor], Callable[..., Any]]] = [
        (
            "goodfire",
            "relu",
            "Goodfire/Llama-3.1-8B-Instruct-SAE-l19",
            "Llama-3.1-8B-Instruct-SAE-l19.pth",
            goodfire,
            loaders.get_goodfire_huggingface_loader,
        ),
        (
            "qwen_scope",
            "topk",
            f"Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_{K}",
            "layer5.sae.pt",
            qwen,
            loaders.qwen_scope_sae_huggingface_loader,
        ),
    ]
    for format_name, architecture, repository, file, state, loader in kinds:
        case = format_name.replace("_", "-")
        root = CASES / case / repository.split("/")[1]
        root.mkdir(parents=True)
        torch.save(state, root / file)
        sae = through_sae_lens(loader, repository, file, root)
        x = inputs(540)
        record(case, format_name, architecture, root / file, READ_BY_SAE_LENS, x, sae.encode(x), sae(x))


def llama_settings(**changes: Any) -> dict[str, Any]:
    """Settings of Llama Scope."""
    hook = "blocks.8.hook_resid_post"
    return {
        "d_model": D_IN,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "top_k": K,
        "hook_point_in": hook,
        "hook_point_out": hook,
    } | changes


def make_llama_scope() -> None:
    """Llama Scope with the rule that sae-lens knows (no decoder norms), as sae-lens reads it."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    weights = tensors(600)
    old_names = {
        "encoder.weight": weights["W_enc"].T.contiguous(),
        "encoder.bias": weights["b_enc"],
        "decoder.weight": weights["W_dec"].T.contiguous(),
        "decoder.bias": weights["b_dec"],
    }
    norms, fold = {"in": 9.0, "out": 9.0}, D_IN**0.5 / 9.0
    settings = llama_settings(jump_relu_threshold=0.7, dataset_average_activation_norm=norms, sparsity_include_decoder_norm=False)
    root, name = CASES / "llama-scope-first" / "repository", "Llama3_1-8B-Base-L8R-8x"
    (root / name / "checkpoints").mkdir(parents=True)
    save_file(old_names, root / name / "checkpoints" / "final.safetensors")
    write_json(root / name / "hyperparams.json", settings | {"norm_activation": "dataset-wise"})
    sae = through_sae_lens(loaders.llama_scope_sae_huggingface_loader, "fnlp/Llama3_1-8B-Base-LXR-8x", name, root, fold)
    x = inputs(600)
    record("llama-scope-first", "llama_scope", "jumprelu", root / name, READ_BY_SAE_LENS, x, sae.encode(x), sae(x))

    root, name = CASES / "llama-scope-r1" / "repository", "L8R"
    (root / name).mkdir(parents=True)
    norm = {f"dataset_average_activation_norm.{settings['hook_point_in']}": torch.tensor(9.0)}
    save_file(old_names | norm | {"log_jumprelu_threshold": weights["threshold"].log()}, root / name / "sae_weights.safetensors")
    write_json(root / name / "config.json", llama_settings(expansion_factor=3, sparsity_include_decoder_norm=False))
    sae = through_sae_lens(loaders.llama_scope_r1_distill_sae_huggingface_loader, "fnlp/Llama-Scope-R1-Distill", name, root, fold)
    record("llama-scope-r1", "llama_scope", "jumprelu, R1-Distill", root / name, READ_BY_SAE_LENS, x, sae.encode(x), sae(x))
    make_llama_scope_by_norm()


def make_llama_scope_by_norm() -> None:
    """Llama Scope with decoder norms, which are in its settings by default: the first release's transcoders, and llamascopium 2."""
    into, out = "blocks.8.ln2.hook_normalized", "blocks.8.hook_mlp_out"
    for seed, (name, act_fn) in enumerate(
        [("first-transcoder", "jumprelu"), ("2-topk", "topk"), ("2-jumprelu", "jumprelu")], start=620
    ):
        weights = tensors(seed)
        w = {key: value.double().numpy() for key, value in weights.items()}
        x = inputs(seed)
        scale_in, scale_out = D_IN**0.5 / 8.0, D_IN**0.5 / 3.0
        norms = np.linalg.norm(w["W_dec"], axis=1)
        pre = (x.double().numpy() * scale_in) @ w["W_enc"] + w["b_enc"]
        weighted = pre * norms
        case = f"llama-scope-{name}"
        if name == "first-transcoder":
            folder = CASES / case / "Llama3_1-8B-Base-L8TC-8x"
            (folder / "checkpoints").mkdir(parents=True)
            transposed = {"encoder.weight": weights["W_enc"].T.contiguous(), "decoder.weight": weights["W_dec"].T.contiguous()}
            biases = {"encoder.bias": weights["b_enc"], "decoder.bias": weights["b_dec"]}
            save_file(transposed | biases, folder / "checkpoints" / "final.safetensors")
            average = {"jump_relu_threshold": 0.5, "dataset_average_activation_norm": {"in": 8.0, "out": 3.0}}
            write_json(folder / "hyperparams.json", llama_settings(hook_point_in=into, hook_point_out=out, **average))
            active = weighted > 0.5 * scale_out
        else:
            folder = CASES / case / "sae"
            folder.mkdir(parents=True)
            saved = {"W_E": weights["W_enc"], "b_E": weights["b_enc"], "W_D": weights["W_dec"], "b_D": weights["b_dec"]}
            saved[f"dataset_average_activation_norm.{into}"] = torch.tensor(8.0)
            saved[f"dataset_average_activation_norm.{out}"] = torch.tensor(3.0)
            if act_fn == "jumprelu":
                saved["activation_function.log_jumprelu_threshold"] = weights["threshold"].log()
                active = weighted > w["threshold"]
            else:
                active = weighted >= np.sort(weighted, axis=1)[:, [-K]]
            save_file(saved, folder / "sae_weights.safetensors")
            settings = llama_settings(act_fn=act_fn, hook_point_in=into, hook_point_out=out, norm_activation="dataset-wise")
            del settings["d_sae"]
            write_json(folder / "config.json", settings | {"sae_type": "sae", "expansion_factor": 3})
        acts = np.where(active, np.maximum(pre, 0.0), 0.0)
        result = (acts @ w["W_dec"] + w["b_dec"]) / scale_out
        record(case, "llama_scope", f"{act_fn} by decoder norm, in ≠ out", folder, FORMULAS, x, acts, result)


def main() -> None:
    """Write all cases anew."""
    shutil.rmtree(CASES, ignore_errors=True)
    with torch.no_grad():
        make_sae_lens()
        make_sparsify()
        make_dictionary_learning()
        make_gemma_scope()
        make_llama_scope()
        make_single_files()
    write_json(HERE / "cases.json", cases)
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"{len(cases)} cases, {size / 2**10:.0f} KiB")  # noqa: T201


if __name__ == "__main__":
    main()
