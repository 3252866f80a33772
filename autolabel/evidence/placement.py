"""How a subject model is loaded: in which number format, on which device or devices, and how small its weights are made.

The invariant: the number format follows from the settings and from what the hardware says it can do, never from a timing.
"""

import logging
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from autolabel.config import SubjectSettings
from autolabel.errors import DataError


def device_of(settings: SubjectSettings) -> torch.device:
    """The device the settings ask for; of several, the first.

    Raises:
        RuntimeError: torch knows no such device.
    """
    if settings.device != "auto":
        return torch.device(settings.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype_of(settings: SubjectSettings, device: torch.device) -> torch.dtype:
    """The number format of the forward pass: with `auto`, bfloat16 where the hardware has instructions for it, else float32."""
    if settings.dtype != "auto":
        chosen: torch.dtype = getattr(torch, settings.dtype)
        return chosen
    return torch.bfloat16 if _has_bfloat16(device) else torch.float32


def number_format(settings: SubjectSettings, dtype: torch.dtype) -> str:
    """What activations depend on besides weights and text, in words: `bfloat16`, or `bfloat16, 8bit` with smaller weights."""
    name = str(dtype).removeprefix("torch.")
    return name if settings.quantization is None else f"{name}, {settings.quantization}"


def loading_arguments(settings: SubjectSettings, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is called with.

    Raises:
        DataError: a package is missing that the settings need.
    """
    arguments: dict[str, Any] = {"dtype": dtype}
    if settings.device_map is not None:
        _require("device_map", settings.device_map, "accelerate")
        arguments["device_map"] = settings.device_map
    if settings.quantization is not None:
        _require("quantization", settings.quantization, "bitsandbytes", "accelerate")
        arguments["quantization_config"] = _quantization(settings.quantization, dtype)
        arguments.setdefault("device_map", {"": device})
    return arguments


def placed(model: torch.nn.Module, arguments: dict[str, Any], device: torch.device) -> torch.nn.Module:
    """The model on its device; one that was spread over devices, or has smaller weights, stays where it is."""
    return model if "device_map" in arguments else model.to(device)


def input_device(model: torch.nn.Module, device: torch.device) -> torch.device:
    """Where token ids go: to the embedding, or, while its weights lie elsewhere, to where it will run."""
    embedding: torch.nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    own = next(embedding.parameters()).device
    if own.type != "meta":
        return own
    return torch.device(getattr(getattr(embedding, "_hf_hook", None), "execution_device", device))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _quantization(how: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    if how == "8bit":
        # It warns of every product of every layer that its input was cast from bfloat16, which is how it works.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _require(setting: str, value: str, *packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise DataError(
            f'[subject] {setting} = "{value}" needs {" and ".join(missing)}, which {"is" if len(missing) == 1 else "are"} not '
            f"installed; `pip install {' '.join(missing)}`, or leave {setting} out"
        )
