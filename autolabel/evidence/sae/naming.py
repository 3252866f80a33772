"""What the place of an SAE says about it, where its files do not."""

import re
from pathlib import Path

_SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<repo>[^/]+)/snapshots/[^/]+(?:/(?P<rest>.+))?$")
_MODULE_PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def full_name(folder: Path, local_parts: int = 1) -> str:
    """A name for the SAE in `folder`: repository and path within it if it came from the hub, else the last parts of the path."""
    folder = folder.absolute()
    found = _SNAPSHOT.search(folder.as_posix())
    if found:
        return "/".join(filter(None, (found["owner"], found["repo"], found["rest"])))
    return "/".join(folder.parts[1:][-local_parts:]) or "sae"


def is_module_path(text: str) -> bool:
    """Whether `text` can name a module of a model, as `layers.10.mlp` does."""
    return bool(_MODULE_PATH.fullmatch(text))


def layer_in(text: str) -> int | None:
    """The number after `layer_` in a path."""
    found = re.search(r"layer_(\d{1,4})(?!\d)", text)
    return int(found[1]) if found else None
