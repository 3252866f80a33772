"""Progress on stderr: a bar per stage on a terminal, a line per stage elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressWatcher:
    """Shows how a run is going; see `autolabel.pipeline.Watcher`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> "ProgressWatcher":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars off the terminal while somebody is asked something."""
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def stage(self, name: str, total: int) -> None:
        """A stage begins, of so many steps."""
        if not self._console.is_terminal:
            self._console.print(f"{name}: {total}", markup=False)
        self._task = self._bars.add_task(name, total=total)

    def advance(self, done: int) -> None:
        """So many steps of the stage are done."""
        if self._task is not None:
            self._bars.update(self._task, completed=done)

    def say(self, text: str) -> None:
        """Something worth a line."""
        self._console.print(text, markup=False, soft_wrap=True)
