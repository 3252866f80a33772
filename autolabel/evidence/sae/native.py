"""autolabel's own SAE files: `sae.safetensors` with W_enc, b_enc, W_dec, b_dec, and `config.json` beside it."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import SparseCoder

FORMAT = "autolabel"
WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "config.json"


class NativeConfig(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["autolabel"]
    name: str
    architecture: Literal["topk", "relu"]
    k: int | None = None
    d_model: int
    d_sae: int
    hookpoint: str
    subject_model: str
    l0: float | None = None
    training: dict[str, Any] = {}


def detect(folder: Path) -> bool:
    """Whether `folder` holds an SAE of this format."""
    return (folder / WEIGHTS_FILE).is_file() and (folder / CONFIG_FILE).is_file()


def save(folder: Path, coder: SparseCoder, dtype: torch.dtype = torch.float16) -> None:
    """Write an SAE; float16 halves the file at a relative error of 2^-11."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(coder, name).detach().cpu().to(dtype).contiguous() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    config = NativeConfig(
        format="autolabel",
        name=coder.name,
        architecture=coder.architecture,
        k=coder.k,
        d_model=coder.d_model,
        d_sae=coder.d_sae,
        hookpoint=coder.hookpoint,
        subject_model=coder.subject_model,
        l0=coder.advertised_l0,
        training=coder.config,
    )
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config.model_dump(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> SparseCoder:
    """Read an SAE.

    Raises:
        DataError: a file is malformed or truncated, a tensor is missing, has the wrong shape or holds a value that is not finite.
    """
    config = _config(folder / CONFIG_FILE)
    shapes = {
        "W_enc": (config.d_model, config.d_sae),
        "b_enc": (config.d_sae,),
        "W_dec": (config.d_sae, config.d_model),
        "b_dec": (config.d_model,),
    }
    tensors = _tensors(folder / WEIGHTS_FILE, shapes)
    if config.architecture == "topk" and not (config.k and 0 < config.k <= config.d_sae):
        raise DataError(f"'{folder / CONFIG_FILE}': a topk SAE needs k between 1 and d_sae = {config.d_sae}, found {config.k}")
    return SparseCoder(
        **tensors,
        architecture=config.architecture,
        k=config.k,
        hookpoint=config.hookpoint,
        name=config.name,
        format=FORMAT,
        subject_model=config.subject_model,
        advertised_l0=float(config.k) if config.architecture == "topk" and config.k else config.l0,
        config=config.training,
    )


def _config(path: Path) -> NativeConfig:
    try:
        return NativeConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where, found = ".".join(map(str, first["loc"])), repr(first["input"])[:80]
        raise DataError(f"'{path}' is no autolabel SAE config: {where or 'content'}: {first['msg']}, found {found}") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name, shape in shapes.items():
                if name not in names:
                    raise DataError(f"'{path}' lacks the tensor '{name}'; it holds {', '.join(sorted(names)) or 'nothing'}")
                tensor = file.get_tensor(name).float()
                if tuple(tensor.shape) != shape:
                    raise DataError(f"'{path}': '{name}' has shape {tuple(tensor.shape)}, its config.json says {shape}")
                bad = int((~torch.isfinite(tensor)).sum())
                if bad:
                    raise DataError(f"'{path}': '{name}' holds {bad} values that are NaN or infinite; the file is damaged")
                tensors[name] = tensor
    except (SafetensorError, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({error}); it is truncated or no safetensors file") from None
    return tensors
