"""Turns a GGUF file into transformers' own format once, because reading GGUF takes half a minute and reading its own a second."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from autolabel.errors import DataError


def convert_gguf(file: Path, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file to the folder `target`, weights dequantised to bfloat16.

    Raises:
        DataError: the file cannot be read; the packages `gguf` and `accelerate` are needed for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=target.parent) as scratch:
            unfinished = Path(scratch) / "model"
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
            )
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.hf_quantizer = None
            model.save_pretrained(unfinished)
            AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(unfinished)
            unfinished.rename(target)
    except (OSError, ValueError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        raise DataError(f"cannot convert '{file.name}' ({why}); `pip install 'autolabel[demo]'` brings what it needs") from None
