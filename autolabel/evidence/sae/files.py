"""Reading SAE files that may come from anywhere: shapes before contents, no code run, every tensor checked.

The invariant: a tensor leaves this module only as a finite float32 matrix or vector of the shape that was asked for.
"""

import json
import lzma
import math
import os
import pickle
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from autolabel.errors import DataError

_JSON_BYTES = 16 * 2**20
_FLOAT_BYTES = 4
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_ANYTHING_A_PICKLE_CAN_RAISE = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    EOFError,
    AssertionError,
    MemoryError,
    OverflowError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
_ANYTHING_AN_ARCHIVE_CAN_RAISE = (*_ANYTHING_A_PICKLE_CAN_RAISE, SyntaxError, tokenize.TokenError, zlib.error, lzma.LZMAError)


class Tensors:
    """The tensors of one file, of which only the shapes are known until one is taken."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], torch.Tensor]) -> None:
        """`read` gives a tensor by its name.

        Raises:
            DataError: all together need more memory than the machine has.
        """
        self.path = path
        self.shapes = shapes
        self._read = read
        _require_memory(path, sum(math.prod(shape) for shape in shapes.values()) * _FLOAT_BYTES)

    def matrix_shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a matrix.

        Raises:
            DataError: there is no such tensor, or it is no matrix.
        """
        shape = self._shape(name)
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"'{self.path}': '{name}' has shape {shape}, expected a matrix")
        return shape[0], shape[1]

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor `name` in float32, which must have this shape.

        Raises:
            DataError: it is missing, has another shape, holds no floating-point numbers, or some that are NaN or infinite.
        """
        found = self._shape(name)
        if found != shape:
            raise DataError(f"'{self.path}': '{name}' has shape {found}, expected {shape} from the other tensors and the settings")
        tensor = self._read(name)
        if tensor.dtype not in _FLOATS:
            raise DataError(f"'{self.path}': '{name}' holds {tensor.dtype}, expected floating-point numbers")
        tensor = tensor.detach().to(torch.float32).contiguous()
        _require_finite(self.path, name, tensor)
        return tensor

    def take_transposed(self, name: str, *shape: int) -> torch.Tensor:
        """The transpose of the matrix `name`, where `shape` is that of the transpose."""
        return self.take(name, *reversed(shape)).T.contiguous()

    def take_number(self, name: str) -> float:
        """A finite number that is kept as a tensor with one entry.

        Raises:
            DataError: it is missing, has more entries, or is NaN or infinite.
        """
        shape = self._shape(name)
        if math.prod(shape) != 1:
            raise DataError(f"'{self.path}': '{name}' has shape {shape}, expected a single number")
        number = float(self._read(name).reshape(()).item())
        if not math.isfinite(number):
            raise DataError(f"'{self.path}': '{name}' is {number}, expected a finite number")
        return number

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise DataError(f"'{self.path}' lacks the tensor '{name}'; it holds {listed(self.shapes)}")
        return self.shapes[name]


def listed(names: Mapping[str, object]) -> str:
    """Some names for a message."""
    some = ", ".join(sorted(str(name)[:80] for name in names)[:12])
    return (some + (", …" if len(names) > 12 else "")) or "nothing"


def open_safetensors(path: Path) -> Tensors:
    """The tensors of a safetensors file.

    Raises:
        DataError: it is no safetensors file, truncated, or larger than memory.
    """
    try:
        opened: Any = safe_open
        file = opened(path, framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({one_line(error)}); it is truncated or no safetensors file") from None

    def read(name: str) -> torch.Tensor:
        tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    return Tensors(path, shapes, read)


def open_npz(path: Path) -> Tensors:
    """The arrays of a NumPy archive; arrays of Python objects are refused.

    Raises:
        DataError: it is no NumPy archive, truncated, larger than memory, or holds Python objects.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in shapes:
                    raise DataError(f"'{path}' holds two arrays called '{name}'; expected one of each name")
                with archive.open(member) as stream:
                    shapes[name] = _npy_shape(path, name, stream, member.file_size)
    except _ANYTHING_AN_ARCHIVE_CAN_RAISE as error:
        raise DataError(f"'{path}' cannot be read ({one_line(error)}); it is truncated or no .npz file") from None

    def read(name: str) -> torch.Tensor:
        try:
            with np.load(path, allow_pickle=False) as archive:
                return torch.from_numpy(np.asarray(archive[name]))
        except _ANYTHING_AN_ARCHIVE_CAN_RAISE as error:
            raise DataError(f"'{path}': '{name}' cannot be read ({one_line(error)}); the file is damaged") from None

    return Tensors(path, shapes, read)


def open_torch(path: Path) -> Tensors:
    """The tensors of a file written by `torch.save`, which is a pickle: it is read in the mode that runs no code.

    Raises:
        DataError: it holds anything but named tensors, is truncated, or larger than memory.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _require_memory(path, sum(member.file_size for member in archive.infolist()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _ANYTHING_A_PICKLE_CAN_RAISE as error:
        raise DataError(
            f"'{path}' cannot be read as tensors ({one_line(error)}); it is truncated, damaged, or holds Python code, which "
            "autolabel does not run. Convert it to safetensors"
        ) from None
    if not isinstance(state, dict):
        raise DataError(f"'{path}' holds a {type(state).__name__}, expected named tensors")
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}
    for name, tensor in tensors.items():
        _require_plain(path, name, tensor)
    return Tensors(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: the file cannot be read, is huge, or holds no JSON object.
    """
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise DataError(f"'{path}' is {path.stat().st_size / 2**20:.0f} MiB large; settings of an SAE take a few kilobytes")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"'{path}' holds a JSON {type(content).__name__}, expected an object with the SAE's settings")
    return content


def one_line(error: BaseException) -> str:
    """The message of an error, short and on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _npy_shape(path: Path, name: str, stream: Any, n_bytes: int) -> tuple[int, ...]:
    """The shape an array's header states, once it is known to fit its bytes."""
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise DataError(f"'{path}': '{name}' holds Python objects, which autolabel does not load; expected numbers")
    if not dtype.itemsize or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > n_bytes:
        raise DataError(f"'{path}': the header of '{name}' states the shape {shape}, for which its {n_bytes} bytes are too few")
    return tuple(shape)


def _require_plain(path: Path, name: str, tensor: torch.Tensor) -> None:
    """Refuse tensors whose size on paper is not that of their data: expanded, sparse, without data."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DataError(f"'{path}': '{name}' is no ordinary dense tensor with data of its own; save it again with .contiguous()")


def _require_finite(path: Path, name: str, tensor: torch.Tensor) -> None:
    rows = tensor if tensor.dim() == 2 else tensor.reshape(-1, 1)
    low, high = rows.aminmax(dim=1)
    bad = (~(torch.isfinite(low) & torch.isfinite(high))).nonzero().squeeze(1)
    if len(bad):
        n = int((~torch.isfinite(rows[bad])).sum())
        raise DataError(
            f"'{path}': '{name}' holds {n} values that are NaN or infinite, the first in row {int(bad[0])}; the file is damaged"
        )


def _require_memory(path: Path, n_bytes: int) -> None:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > there:
        raise DataError(
            f"'{path}' needs {n_bytes / 2**30:.1f} GiB of memory and this machine has {there / 2**30:.1f}; "
            "use a narrower SAE or a larger machine"
        )
