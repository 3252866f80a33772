"""What a benchmark measures of its own process, and how it shows it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time

import psutil

_MB = 1e6


@dataclass
class Measured:
    """What passed between the two ends of a `measuring` block; zero until it ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """CPU time of this process, all threads, children not included."""
    rss_mb: float = 0.0
    """Memory at the end."""
    rss_grown_mb: float = 0.0


@contextmanager
def measuring() -> Iterator[Measured]:
    """Measure a block of code: `with measuring() as spent: ...`, then `spent.cpu_s`."""
    found = Measured()
    rss, wall, cpu = rss_mb(), perf_counter(), process_time()
    yield found
    found.cpu_s, found.wall_s = process_time() - cpu, perf_counter() - wall
    found.rss_mb = rss_mb()
    found.rss_grown_mb = found.rss_mb - rss


def rss_mb() -> float:
    """Memory of this process in MB (10^6 bytes)."""
    return float(psutil.Process().memory_info().rss) / _MB


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; numbers stand right, with four digits or as whole numbers."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(header, *cells, strict=True)]
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
    rule = ["-" * (width - 1) + ":" if number else "-" * width for width, number in zip(widths, right, strict=True)]
    lines = [
        "| " + " | ".join(_padded(text, width, number) for text, width, number in zip(row, widths, right, strict=True)) + " |"
        for row in [list(header), rule, *cells]
    ]
    sys.stdout.write(f"\n{title}\n\n" + "\n".join(lines) + "\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _padded(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
