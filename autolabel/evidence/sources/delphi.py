"""`kind = "delphi"`: the latent cache that EleutherAI's delphi writes for one hookpoint (checked against its version 0.1.3).

A folder of `{first}_{last}.safetensors`, one file per range of latents, each with `locations` (row of tokens, position, latent − first),
`activations` and all `tokens`, and a `config.json`. Rows ascend within a file, so the files are read side by side from their mappings.
A cache knows no documents: each row of tokens is its own, and rows with the same text count as one.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.config import SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.sources.contexts import Survey
from autolabel.evidence.sources.cursor import Cursor, stretches
from autolabel.evidence.sources.delphi_files import CacheFile, cache_paths, open_cache_file
from autolabel.evidence.sources.files import (
    hash_of,
    place_of,
    read_directions,
    require_asked,
    require_folder,
    require_length,
    storable,
)
from autolabel.evidence.sources.reading import Block, Entries, Source
from autolabel.evidence.sources.tokens import Text
from autolabel.evidence.sources.vocabulary import Vocabulary
from autolabel.evidence.texts.records import cleaned
from autolabel.hashing import document_hash

FORMAT = "delphi"
CONFIG_FILE = "config.json"
_MAX_CONFIG_BYTES = 1 << 20
_SURVEY_ROWS = 256


def open_delphi(settings: SourceSettings) -> Source:
    """Open a cache; all tokens are gone through once, to count them and to find repetitions.

    Raises:
        DataError: a file is missing or malformed, or the tokenizer cannot be loaded.
    """
    folder = require_folder(settings.path)
    config = _config(folder / CONFIG_FILE)
    paths = cache_paths(folder, config.get("n_splits"))
    files = [open_cache_file(path) for path in paths]
    vocabulary = Vocabulary.load(settings.tokenizer or config.get("model_name"), settings.token_style)
    n_latents = files[-1].last + 1
    if settings.d_sae is not None and settings.d_sae < n_latents:
        raise DataError(
            f"'{files[-1].path}' holds latents up to {n_latents - 1}; correct [source] d_sae = {settings.d_sae} or leave it out"
        )
    require_asked(f"'{files[-1].path}'", n_latents, settings.d_sae)
    d_sae = settings.d_sae or n_latents
    directions_file = place_of(settings.directions) if settings.directions else None
    survey = Survey.of(_sources(files, vocabulary), drop_repeats=True)
    if len(survey.hashes) == 0:
        raise DataError(f"'{files[0].path}' holds no tokens; cache some with n_tokens above batch_size × cache_ctx_len")
    optional = [path for path in (folder / CONFIG_FILE if config else None, directions_file) if path is not None]
    return Source(
        name=settings.name or folder.resolve().name,
        kind="imported",
        format=FORMAT,
        d_sae=d_sae,
        config={
            "delphi": config,
            "token_style": vocabulary.style,
            "negative": settings.negative,
            "directions": directions_file and cleaned(directions_file.name),
        },
        content_hash=hash_of([*paths, *optional]),
        subject_model=settings.subject_model or config.get("model_name"),
        directions=read_directions(directions_file, d_sae) if directions_file else None,
        complete=True,
        survey=survey,
        negative=settings.negative,
        blocks=lambda skip, n: _blocks(files, vocabulary, skip, n),
    )


def _config(path: Path) -> dict[str, Any]:
    """What config.json says, nothing if there is none."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        config = storable(json.loads(path.read_bytes()), "")
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"'{path}' is no config.json of a delphi cache ({error}); copy it again or remove it") from None
    model = config.get("model_name") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(model, str | None):
        raise DataError(f"'{path}' is no config.json of a delphi cache: expected an object whose model_name is text, or none")
    return config


def _sources(files: list[CacheFile], vocabulary: Vocabulary) -> Iterator[tuple[int, Text]]:
    """Source hash and text of every row; refuses files whose tokens are not the same."""
    whole = files[0]
    for first in range(0, whole.shape[0], _SURVEY_ROWS):
        token_ids = whole.token_ids(first, _SURVEY_ROWS)
        for file in files[1:]:
            if file.shape != whole.shape or not np.array_equal(file.token_ids(first, _SURVEY_ROWS), token_ids):
                raise DataError(f"'{file.path}' holds other tokens than '{whole.path.name}'; both must come from one run of delphi")
        texts, _ = _texts(whole, vocabulary, first, _SURVEY_ROWS)
        yield from ((document_hash(text.text), text) for text in texts)


def _texts(file: CacheFile, vocabulary: Vocabulary, first: int, n: int) -> tuple[list[Text], NDArray[np.int64]]:
    """The texts of some rows without a BOS at their start, and whether there was one: 1 or 0."""
    token_ids = file.token_ids(first, n)
    unknown = np.argwhere((token_ids < 0) | (token_ids >= vocabulary.size))
    if len(unknown):
        row, position = unknown[0]
        raise DataError(
            f"{_name_of(file, first)(row)}, position {position}: token {token_ids[row, position]} is not among the {vocabulary.size} of "
            f"the tokenizer '{vocabulary.name}'; set [source] tokenizer to the one of the cached model"
        )
    starts = (token_ids[:, 0] == vocabulary.bos_token_id).astype(np.int64)
    texts = []
    for row, (ids, start) in enumerate(zip(token_ids, starts, strict=True)):
        where = _name_of(file, first)(row)
        require_length(where, len(ids) - int(start))
        texts.append(vocabulary.read(ids[start:], where))
    return texts, starts


def _name_of(file: CacheFile, first: int) -> Callable[[int], str]:
    return lambda row: f"'{file.path.parent}', row {first + row}"


def _blocks(files: list[CacheFile], vocabulary: Vocabulary, skip: int, n: int) -> Iterator[Block]:
    cursors = [Cursor(file.entries(skip)) for file in files]
    n_rows = files[0].shape[0]
    for first in range(skip, n_rows, n):
        texts, starts = _texts(files[0], vocabulary, first, n)
        for start, end, parts in stretches(range(first, first + len(texts)), cursors, len):
            entries = Entries.joined(parts)
            rows = entries.rows - first
            positions = entries.positions - starts[rows]
            is_bos = (positions == -1) & (starts[rows] == 1)
            entries = Entries(rows - start, positions, entries.features, entries.values)[~is_bos]
            names = [f"row {row}" for row in range(first + start, first + end)]
            yield Block(first + start, names, texts[start:end], entries, _name_of(files[0], first + start))
    for file, cursor in zip(files, cursors, strict=True):
        if cursor.next_key is not None and skip < n_rows:
            raise DataError(
                f"'{file.path}' has activations in row {cursor.next_key}, but only {n_rows} rows of tokens; copy the file again"
            )
