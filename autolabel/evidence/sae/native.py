"""autolabel's own SAE files: `sae.safetensors` with W_enc, b_enc, W_dec, b_dec, and `config.json` beside it."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.files import open_safetensors

FORMAT = "autolabel"
WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "config.json"

_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


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


def save(folder: Path, coder: SparseCoder, dtype: torch.dtype = torch.float16) -> None:
    """Write a plain top-k or ReLU SAE; float16 halves the file at a relative error of 2^-11.

    Raises:
        DataError: the SAE has a rule or a tensor that this format does not hold.
    """
    if coder.rules().keys() - {"architecture"} or coder.architecture not in ("topk", "relu"):
        raise DataError(f"'{coder.name}' is no plain top-k or ReLU SAE; the autolabel format holds no other ({coder.rules()})")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(coder, name).detach().cpu().to(dtype).contiguous() for name in _TENSORS}
    config = NativeConfig(
        format="autolabel",
        name=coder.name,
        architecture="topk" if coder.architecture == "topk" else "relu",
        k=coder.k,
        d_model=coder.d_in,
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
    tensors = open_safetensors(folder / WEIGHTS_FILE)
    if config.architecture == "topk" and not (config.k and 0 < config.k <= config.d_sae):
        raise DataError(f"'{folder / CONFIG_FILE}': a topk SAE needs k between 1 and d_sae = {config.d_sae}, found {config.k}")
    return SparseCoder(
        W_enc=tensors.take("W_enc", config.d_model, config.d_sae),
        b_enc=tensors.take("b_enc", config.d_sae),
        W_dec=tensors.take("W_dec", config.d_sae, config.d_model),
        b_dec=tensors.take("b_dec", config.d_model),
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
