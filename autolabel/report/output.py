"""Where finished bytes go: a file, written whole or not at all, or stdout."""

import os
import sys
from pathlib import Path

from autolabel.errors import ConfigError


def deliver(content: bytes, out: Path | None) -> None:
    """Write to the file `out`, or to stdout when there is none."""
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            f"--out {out} cannot be written ({error.strerror or error}); pass a file in a folder that exists"
        ) from error


def require_destination(out: Path | None, what: str, name: str) -> None:
    """Refuse to fill a terminal with something that is not for reading there."""
    if out is None and sys.stdout.isatty():
        raise ConfigError(f"{what} is not for a terminal; pass --out {name}, or send stdout to a file")
