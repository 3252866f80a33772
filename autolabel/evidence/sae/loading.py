"""Finds out which format an SAE folder or file has. A new format is one new module and one line in `FORMATS`."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from autolabel.errors import DataError
from autolabel.evidence.sae import (
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    native,
    saelens,
    single_files,
    sparsify,
)
from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.hub import local_path
from autolabel.parts import locate
from autolabel.resources import resource_dir


class Format(NamedTuple):
    """How a format is told by its files, and how it is read."""

    name: str
    weights: str
    config: str | None
    load: Callable[[Path], SparseCoder]
    extra: tuple[str, ...] = ()
    """Files that are read if they are there."""


FORMATS: tuple[Format, ...] = (
    Format(saelens.FORMAT, saelens.WEIGHTS_FILE, saelens.CONFIG_FILE, saelens.load, (saelens.SPARSITY_FILE,)),
    Format(sparsify.FORMAT, sparsify.WEIGHTS_FILE, sparsify.CONFIG_FILE, sparsify.load),
    Format(native.FORMAT, native.WEIGHTS_FILE, native.CONFIG_FILE, native.load),
    Format(dictionary_learning.FORMAT, dictionary_learning.WEIGHTS_FILE, dictionary_learning.CONFIG_FILE, dictionary_learning.load),
    Format(gemma_scope.FORMAT, gemma_scope.WEIGHTS_FILE, None, gemma_scope.load),
    Format(gemma_scope_2.FORMAT, gemma_scope_2.WEIGHTS_FILE, gemma_scope_2.CONFIG_FILE, gemma_scope_2.load),
    Format(llama_scope.FORMAT, llama_scope.FIRST_WEIGHTS_FILE, llama_scope.FIRST_CONFIG_FILE, llama_scope.load_first),
    Format(llama_scope.FORMAT, llama_scope.WEIGHTS_FILE, llama_scope.CONFIG_FILE, llama_scope.load),
)
"""No two have the same pair of files; a folder is read as the first whose files it holds."""


class FileFormat(NamedTuple):
    """How a format of single files is told by their names, and how it is read."""

    name: str
    pattern: re.Pattern[str]
    load: Callable[[Path], SparseCoder]


FILE_FORMATS: tuple[FileFormat, ...] = (
    FileFormat(single_files.GOODFIRE, single_files.GOODFIRE_FILE, single_files.load_goodfire),
    FileFormat(single_files.QWEN_SCOPE, single_files.QWEN_SCOPE_FILE, single_files.load_qwen_scope),
)
"""Formats of which an SAE is one file, for which `path` then is the file's."""

KNOWN_FILES: tuple[str, ...] = tuple(
    dict.fromkeys(file for known in FORMATS for file in (known.weights, known.config, *known.extra) if file)
)
"""Every file that some format consists of."""

DEMO_SAE = "demo-sae"


def load_sae(
    path: str, hookpoint: str | None = None, subfolder: str | None = None, hookpoint_out: str | None = None
) -> SparseCoder:
    """Read an SAE from a folder (a file, for formats of single files) or from the hub.

    Args:
        path: a folder; `demo-sae`, which ships with autolabel; `hub:OWNER/REPO[@REVISION][/SUB/FOLDER]`; or `OWNER/REPO` alone.
        hookpoint: replaces the one it names.
        subfolder: folder within `path`.
        hookpoint_out: replaces what a transcoder says it reconstructs.

    Raises:
        DataError: there is no folder, no known format, its files cannot be used, or nothing says what the SAE reads.
    """
    folder = resource_dir("data") / DEMO_SAE if path == DEMO_SAE else local_path(locate(path), subfolder, KNOWN_FILES)
    if not folder.exists():
        raise DataError(
            f"there is no SAE folder '{folder if subfolder else path}'; [sae] path must name a folder with an SAE's files, or "
            "hub:OWNER/REPO/FOLDER"
        )
    coder = _file_format_of(folder).load(folder) if folder.is_file() else _format_of(folder, path).load(folder)
    coder = replace(coder, hookpoint=hookpoint or coder.hookpoint, hookpoint_out=hookpoint_out or coder.hookpoint_out)
    if coder.hookpoint_out == "":
        raise DataError(
            f"the {coder.format} files in '{folder}' hold a transcoder and do not say what it reads and reconstructs; set [sae] hookpoint "
            'and hookpoint_out, for example to "layers.12.mlp:input" and "layers.12.mlp"'
        )
    if not coder.hookpoint:
        raise DataError(
            f"the {coder.format} files in '{folder}' do not say which activations the SAE reads; set [sae] hookpoint, "
            'for example to "layers.12"'
        )
    return coder


def _file_format_of(path: Path) -> FileFormat:
    for known in FILE_FORMATS:
        if known.pattern.fullmatch(path.name):
            return known
    patterns = ", ".join(f"{known.pattern.pattern} ({known.name})" for known in FILE_FORMATS)
    raise DataError(f"'{path}' is a file; [sae] path must name the folder it lies in, unless it is one of {patterns}")


def _format_of(folder: Path, path: str) -> Format:
    """The format whose files the folder holds; where half of them are there, the error names the other half."""
    with_weights = [known for known in FORMATS if (folder / known.weights).is_file()]
    with_config = [known for known in FORMATS if known.config and (folder / known.config).is_file()]
    for known in with_weights:
        if known.config is None or known in with_config:
            return known
    if with_weights:
        lacking = " or ".join(f"{known.config} ({known.name})" for known in with_weights)
        raise DataError(f"'{path}' holds {with_weights[0].weights} but not {lacking}; copy the missing file too")
    if with_config:
        lacking = " or ".join(f"{known.weights} ({known.name})" for known in with_config)
        raise DataError(
            f"'{path}' holds {with_config[0].config} but no weights: {lacking}; copy the missing file too, or name a folder within"
        )
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    names = ", ".join(dict.fromkeys(known.name for known in FORMATS))
    raise DataError(
        f"'{path}' holds no SAE of a known format ({names}); found {found}. If the SAEs lie in folders within, name one of them"
    )
