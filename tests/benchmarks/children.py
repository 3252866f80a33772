"""Child processes watched from outside: the most memory each ever held, and the most bytes it ever had on disk.

Memory is the high-water mark that the kernel keeps for the process itself (`VmHWM`). `ru_maxrss` would not do: a child inherits that of
the process that starts it.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GIB, MIB = 2**30, 2**20
_LOOK_EVERY_S = 0.05
_LOOKS_PER_DISK = 10
"""Disks are looked at less often: that takes a call per file."""


@dataclass
class Watched:
    """What was seen of a child process."""

    output: str = ""
    """What it printed to stdout."""
    wall_s: float = 0.0
    peak_rss: int = 0
    """Bytes."""
    peak_files: dict[str, int] = field(default_factory=dict)
    """Largest size of the files that each pattern matches, bytes, by the pattern's name."""


def watched(command: Sequence[str], folder: Path, patterns: Mapping[str, str]) -> Watched:
    """Run a command to its end; its stderr is ours.

    Args:
        command: program and arguments.
        folder: where it keeps its files.
        patterns: globs within `folder` whose files are to be measured, by name.

    Raises:
        RuntimeError: it failed.
    """
    seen = Watched(peak_files=dict.fromkeys(patterns, 0))
    begun = time.perf_counter()
    looks = 0
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, text=True) as process:
        while process.poll() is None:
            seen.peak_rss = max(seen.peak_rss, peak_rss(process.pid))
            if looks % _LOOKS_PER_DISK == 0:
                for name, pattern in patterns.items():
                    seen.peak_files[name] = max(seen.peak_files[name], size_of(folder, pattern))
            looks += 1
            time.sleep(_LOOK_EVERY_S)
        seen.wall_s = time.perf_counter() - begun
        output.seek(0)
        seen.output = output.read()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode} from {' '.join(command)}")
    return seen


def this_module(module: str, *arguments: object) -> list[str]:
    """The command that runs a module of ours in a process of its own."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def peak_rss(pid: int | str = "self") -> int:
    """The most memory that a process ever held, bytes; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def size_of(folder: Path, pattern: str) -> int:
    """Bytes of the files that a glob matches."""
    total = 0
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
