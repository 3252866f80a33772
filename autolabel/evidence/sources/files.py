"""What all kinds of activation files need: their folder, the hash of their bytes, and decoder directions that lie beside them."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_CONTEXT_TOKENS, MAX_FEATURES, MAX_UNASKED_FEATURES
from autolabel.evidence.texts.records import cleaned
from autolabel.parts import locate

DIRECTION_NAMES = ("directions", "W_dec")
"""Names under which a .safetensors file may hold decoder directions."""
FEATURE_BYTES = 1900
"""Memory that the collector keeps for each feature, with the default sizes of samples."""


def place_of(path: str | Path) -> Path:
    """A path with the home folder for `~`.

    Raises:
        DataError: it names the home of a user who is not there, or is not UTF-8, as the libraries that read files expect.
    """
    if cleaned(str(path)) != str(path):
        raise DataError(f"'{path}' is not UTF-8; rename the folder or file")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"'{path}' names no place ({error}); write the path out") from None


def require_folder(path: str) -> Path:
    """The folder of a source.

    Raises:
        DataError: there is none.
    """
    folder = place_of(locate(path))
    if not folder.is_dir():
        raise DataError(f"there is no folder '{path}'; [source] path must name the folder with the activation files")
    return folder


def require_length(where: str, n_tokens: int) -> None:
    """Refuse a context without tokens, or with more than 8,192.

    Raises:
        DataError: it is one of these.
    """
    if n_tokens == 0:
        raise DataError(f"{where} has no tokens; leave empty contexts out")
    if n_tokens > MAX_CONTEXT_TOKENS:
        raise DataError(
            f"{where} has {n_tokens} tokens, at most {MAX_CONTEXT_TOKENS} are possible; cut it into contexts with the same document_id"
        )


def require_asked(where: str, n_features: int, asked: int | None) -> None:
    """Refuse more features than anybody has unless the settings speak of them: one stray index would take all the memory.

    Raises:
        DataError: there are more than 1,048,576, and no `d_sae` is set.
    """
    if asked is None and n_features > MAX_UNASKED_FEATURES:
        raise DataError(
            f"{where} makes {n_features} features, for which evidence needs about {n_features * FEATURE_BYTES / 1e9:.1f} GB of memory; if "
            f"there are so many, set [source] d_sae, else number the features from 0 without gaps"
        )


def storable(value: Any, name: str) -> Any:
    """What a JSON file says, as it can be hashed and stored: `?` for lone surrogates.

    Raises:
        ValueError: a number is NaN or infinite; with its name.
    """
    if isinstance(value, dict):
        return {cleaned(str(key)): storable(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()}
    if isinstance(value, list):
        return [storable(part, f"{name}[{place}]") for place, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} = {value} is no number")
    return cleaned(value) if isinstance(value, str) else value


def hash_of(paths: Iterable[Path]) -> str:
    """Hash of the files' names and bytes, in the order given.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                own = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"cannot read '{path}': {error.strerror}") from None
        total.update(f"{path.name}\0{own}\n".encode("utf-8", errors="surrogateescape"))
    return total.hexdigest()


def read_directions(path: Path, d_sae: int | None) -> NDArray[np.float32]:
    """Read decoder directions, shape (d_sae, d_model), from .npy or .safetensors.

    Raises:
        DataError: the file cannot be read, or what it holds is no matrix of finite numbers with a row per feature.
    """
    found = _from_safetensors(path) if path.suffix == ".safetensors" else _from_npy(path)
    expected = f"({d_sae or 'd_sae'}, d_model)"
    if found.ndim != 2 or found.dtype.kind not in "fiu" or 0 in found.shape or (d_sae is not None and len(found) != d_sae):
        raise DataError(
            f"'{path}' holds {found.dtype} of shape {found.shape}, expected numbers of shape {expected}: a row per feature"
        )
    if len(found) > MAX_FEATURES:
        raise DataError(f"'{path}' holds {len(found)} directions, at most {MAX_FEATURES} are possible; a feature has one")
    directions = np.array(found, dtype=np.float32)
    bad = int((~np.isfinite(directions)).sum())
    if bad:
        raise DataError(f"'{path}' holds {bad} values that are NaN or infinite; write the directions again")
    return directions


def _from_npy(path: Path) -> NDArray[np.generic]:
    try:  # mapped, so that a header that promises more than the file holds is found out before memory is asked for
        found: NDArray[np.generic] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError, SyntaxError, OverflowError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"'{path}' cannot be read as .npy ({why}); write it with numpy.save, or as .safetensors") from None
    return found


def _from_safetensors(path: Path) -> NDArray[np.generic]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = next((known for known in DIRECTION_NAMES if known in names), names[0] if len(names) == 1 else None)
            if name is None:
                raise DataError(
                    f"'{path}' holds {', '.join(sorted(names)) or 'nothing'}; call the decoder directions '{DIRECTION_NAMES[0]}'"
                )
            tensor = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({error}); it is truncated or no safetensors file") from None
    array: NDArray[np.generic] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
