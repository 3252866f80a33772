"""Other processes that hold a database file, for tests of who waits for whom."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "True")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path: Path, *, read_only: bool) -> Iterator[int]:
    """Another process with the file open; its id."""
    arguments = [sys.executable, "-c", _HOLD, str(path), str(read_only)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
