"""Where the files that ship beside the code lie: inside an installed package, or in the root of a checkout."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).parent


def resource_dir(kind: Literal["prompts", "data"]) -> Path:
    """The folder of shipped `prompts` or `data`: the installed package's own copy first, then the checkout's."""
    installed = _PACKAGE / f"_{kind}"
    return installed if installed.is_dir() else _PACKAGE.parent / kind
