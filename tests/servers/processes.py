"""The server in a process of its own, for clients that are killed and for benchmarks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.options import Options, flags

_ROOT = Path(__file__).parents[2]
_LISTENING = "listening on "
_STOPS_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    base_url: str
    pid: int


@contextmanager
def running(options: Options | None = None) -> Iterator[Running]:
    """Start a server, wait until it listens, and stop it afterwards; its log is whole then."""
    command = [sys.executable, "-m", "tests.servers.llm", *flags(options or Options())]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith(_LISTENING):
                raise RuntimeError(f"the server did not start: {' '.join(command)}")
            yield Running(line.removeprefix(_LISTENING).strip(), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
