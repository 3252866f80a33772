"""One run at a time per database file.

The lock is the operating system's, so a killed run leaves none behind; the number of the process that holds it stands
in a file beside it.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from autolabel.errors import StoreError, StoreLocked


class RunLock:
    """`FILE.lock`, held from `acquire` to `release`, and `FILE.lock.pid`, which says by whom."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = FileLock(database.with_name(database.name + ".lock"), timeout=0, thread_local=False)
        self._pid = database.with_name(database.name + ".lock.pid")

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreLocked: another run has it.
            StoreError: there can be no file in that place.
        """
        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise StoreLocked(
                f"{self._database} is in use by a run, {self._holder()}; one run at a time writes to a database. "
                "Wait for it to end, or pass --db with another file"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{self._database} cannot be written: {error.strerror}; pass --db with a file in a folder of yours"
            ) from error
        self._pid.write_text(str(os.getpid()), encoding="ascii")

    def release(self) -> None:
        """Give the lock back."""
        self._pid.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            return f"PID {int(self._pid.read_text(encoding='ascii'))}"
        except (OSError, ValueError):  # the run is between taking the lock and writing its number
            return "PID unknown"
