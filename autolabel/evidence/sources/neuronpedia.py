"""`kind = "neuronpedia"`: the activations that Neuronpedia publishes for one source, `activations/batch-{N}.jsonl.gz`.

A line is a feature's activations in one context, so a context comes back with every feature it is shown for. It is put together within
an export file; files hold different features, and a text that a later file has too is a document of its own there, in the same split.
Only contexts that were chosen to show a feature are published: what else fires in them is unknown (`complete` is False).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from autolabel.config import SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.sources.contexts import Survey
from autolabel.evidence.sources.files import hash_of, require_asked, require_folder, require_length
from autolabel.evidence.sources.neuronpedia_lines import Line, export_lines
from autolabel.evidence.sources.reading import Block, Entries, Source
from autolabel.evidence.sources.tokens import Text, TokenReader, TokenStyle, detect_style
from autolabel.hashing import document_hash

FORMAT = "neuronpedia"
_NAME = re.compile(r"batch-(\d{1,9})\.jsonl(\.gz)?")
_STYLE_LINES = 1000


@dataclass(slots=True)
class _Contexts:
    """The contexts of an export file."""

    texts: list[Text] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    entries: list[Entries] = field(default_factory=list)
    known: dict[tuple[str, bytes], int] = field(default_factory=dict)
    shown: set[tuple[int, int]] = field(default_factory=set)

    def add(self, line: Line, text: Text) -> None:
        """Add a line; where a feature is shown for a context twice, the first line counts."""
        row = self.known.setdefault((text.text, text.token_ids.tobytes()), len(self.texts))
        if row == len(self.texts):
            self.texts.append(text)
            self.names.append(line.name)
            self.places.append(line.where)
        if (row, line.feature) in self.shown:
            return
        self.shown.add((row, line.feature))
        positions = np.flatnonzero(line.values)
        rows, features = np.full(len(positions), row), np.full(len(positions), line.feature)
        self.entries.append(Entries(rows, positions, features, line.values[positions]))

    def block(self, before: int, first: int, n: int) -> Block:
        """At most `n` contexts from `first` on, in a source that has `before` contexts before this file."""
        if len(self.entries) > 1:
            joined = Entries.joined(self.entries)
            self.entries = [joined[np.argsort(joined.rows, kind="stable")]]
        start, end = np.searchsorted(self.entries[0].rows, [first, first + n])
        part = self.entries[0][start:end]
        entries = Entries(part.rows - first, part.positions, part.features, part.values)
        places = self.places[first : first + n]
        names = self.names[first : first + n]
        return Block(before + first, names, self.texts[first : first + n], entries, places.__getitem__)


class _Export:
    """The export files of one source, gone through once on opening."""

    def __init__(self, paths: list[Path], style: TokenStyle) -> None:
        self._paths = paths
        self._reader = TokenReader(style, mend=True)
        self._sizes: list[int] = []
        self._first: Line | None = None
        self._largest = 0
        self.survey = Survey.of(self._sources(), drop_repeats=False)
        self._reader.settle()

    @property
    def origin(self) -> tuple[str | None, str | None]:
        """Model and source."""
        return (None, None) if self._first is None else self._first.origin

    @property
    def n_features(self) -> int:
        """One more than the largest index."""
        return self._largest + 1

    def blocks(self, skip: int, n: int) -> Iterator[Block]:
        """See `Source.blocks`; files before `skip` are not read."""
        before = 0
        for path, size in zip(self._paths, self._sizes, strict=True):
            if before + size > skip:
                contexts = self._read(path)
                if len(contexts.texts) != size:
                    raise DataError(f"'{path}' has changed since it was opened; start again and leave it alone meanwhile")
                for first in range(max(skip - before, 0), size, n):
                    yield contexts.block(before, first, n)
            before += size

    def _sources(self) -> Iterator[tuple[int, Text]]:
        for path in self._paths:
            texts = self._read(path).texts
            self._sizes.append(len(texts))
            yield from ((document_hash(text.text), text) for text in texts)

    def _read(self, path: Path) -> "_Contexts":
        contexts = _Contexts()
        for line in export_lines(path):
            if not line.tokens:  # features that never fired are published without a context
                continue
            require_length(line.where, len(line.tokens))
            self._first = self._first or line
            if line.origin != self._first.origin:
                here, there = ("/".join(map(str, one.origin)) for one in (line, self._first))
                raise DataError(f"{line.where} is of {here}, the first line of {there}; put each source into a folder of its own")
            self._largest = max(self._largest, line.feature)
            contexts.add(line, self._reader.read(line.tokens, line.where))
        return contexts


def open_neuronpedia(settings: SourceSettings) -> Source:
    """Open an export; all files are gone through once, to count their contexts.

    Raises:
        DataError: a file is missing or malformed, or is of another source than the first.
    """
    folder = require_folder(settings.path)
    paths = _paths(folder)
    style = settings.token_style
    if style == "auto":
        lines = islice(chain.from_iterable(map(export_lines, paths)), _STYLE_LINES)
        style = detect_style(chain.from_iterable(line.tokens for line in lines))
    export = _Export(paths, style)
    if len(export.survey.hashes) == 0:
        raise DataError(f"'{paths[0].parent}' holds no activations with tokens; export the source again or choose another")
    require_asked(f"'{paths[0].parent}', index {export.n_features - 1}", export.n_features, settings.d_sae)
    model, source = export.origin
    return Source(
        name=settings.name or "/".join(part for part in export.origin if part) or folder.resolve().name,
        kind="imported",
        format=FORMAT,
        d_sae=settings.d_sae or export.n_features,
        config={"neuronpedia": {"modelId": model, "layer": source}, "token_style": style, "negative": settings.negative},
        content_hash=hash_of(paths),
        subject_model=settings.subject_model or model,
        directions=None,
        complete=False,
        survey=export.survey,
        negative=settings.negative,
        blocks=export.blocks,
    )


def _paths(folder: Path) -> list[Path]:
    """The export files in the order of their numbers."""
    inner = folder / "activations"
    numbered: dict[int, Path] = {}
    for path in sorted((inner if inner.is_dir() else folder).iterdir()):
        if name := _NAME.fullmatch(path.name):
            if int(name[1]) in numbered:
                raise DataError(f"'{path}' and '{numbered[int(name[1])].name}' have the same number; remove one of them")
            numbered[int(name[1])] = path
    if not numbered:
        raise DataError(
            f"'{folder}' holds no activations/batch-0.jsonl.gz; name the folder of one source of Neuronpedia's export, "
            "for example v1/gpt2-small/8-res-jb"
        )
    return [numbered[number] for number in sorted(numbered)]
