"""Finds out which format an SAE folder holds. A new format is one new module and one line in `FORMATS`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autolabel.errors import DataError
from autolabel.evidence.sae import native
from autolabel.evidence.sae.coder import SparseCoder
from autolabel.parts import locate
from autolabel.resources import resource_dir

FORMATS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], SparseCoder]]] = {
    native.FORMAT: (native.detect, native.load),
}
"""Format name → how to recognise a folder and how to read it."""

DEMO_SAE = "demo-sae"


def load_sae(path: str, hookpoint: str | None = None) -> SparseCoder:
    """Read the SAE in folder `path`; `demo-sae` names the one that ships with autolabel. `hookpoint` replaces the one it names.

    Raises:
        DataError: there is no folder, no known format, or its files cannot be used.
    """
    folder = resource_dir("data") / DEMO_SAE if path == DEMO_SAE else Path(locate(path)).expanduser()
    if not folder.is_dir():
        raise DataError(f"there is no SAE folder '{path}'; [sae] path must name a folder with an SAE's files")
    for detect, load in FORMATS.values():
        if detect(folder):
            coder = load(folder)
            return replace(coder, hookpoint=hookpoint) if hookpoint else coder
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise DataError(f"'{path}' holds no SAE of a known format ({', '.join(FORMATS)}); found {found}")
