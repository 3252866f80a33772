"""Adds fixtures of SAELens before version 6, which wrote flat settings files, to those of `make_fixtures.py`.

Run it after `make_fixtures.py`, in the same environment with an older sae-lens in front of the installed one:

    pip install --no-deps --target OLD sae-lens==5.11.0
    PYTHONHASHSEED=0 PYTHONPATH=OLD python tests/data/sae/make_old_fixtures.py
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import CASES, D_IN, D_SAE, HERE, K, cases, inputs, record, scatter, write_json

MADE_BY = "sae-lens 5.11.0"


def settings(**changes: Any) -> dict[str, Any]:
    """Everything that the settings of this version must have."""
    known: dict[str, Any] = {
        "architecture": "standard",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "context_size": 128,
        "model_name": "gpt2-small",
        "hook_name": "blocks.8.hook_resid_pre",
        "hook_layer": 8,
        "hook_head_index": None,
        "prepend_bos": True,
        "dataset_path": "none",
        "dataset_trust_remote_code": True,
        "normalize_activations": "none",
        "dtype": "torch.float32",
        "device": "cpu",
        "sae_lens_training_version": "5.11.0",
    }
    return known | changes


def main() -> None:
    """Write the cases and add them to the list."""
    import sae_lens

    assert sae_lens.__version__ == MADE_BY.split()[1], f"found sae-lens {sae_lens.__version__} in front"
    cases.extend(case for case in json.loads((HERE / "cases.json").read_text()) if case["made_by"] != MADE_BY)
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("standard", {}),
        ("no-b-dec", {"apply_b_dec_to_input": False}),
        ("layer-norm", {"normalize_activations": "layer_norm"}),
        ("norm-rescale", {"normalize_activations": "constant_norm_rescale"}),
        ("topk-activation", {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}),
        ("topk", {"architecture": "topk", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}),
        ("jumprelu", {"architecture": "jumprelu"}),
        ("gated", {"architecture": "gated"}),
    ]
    with torch.no_grad():
        for seed, (name, changes) in enumerate(kinds, start=700):
            sae = sae_lens.SAE(sae_lens.SAEConfig.from_dict(settings(**changes)))
            scatter(sae, seed)
            folder = CASES / f"saelens-5-{name}" / "sae"
            sae.save_model(folder)
            x = inputs(seed)
            record(f"saelens-5-{name}", "saelens", f"{name}, version 5", folder, MADE_BY, x, sae.encode(x), sae(x))
    formats = list(dict.fromkeys(case["format"] for case in cases))
    write_json(HERE / "cases.json", sorted(cases, key=lambda case: formats.index(case["format"])))


if __name__ == "__main__":
    main()
