"""Text as columns: the words of many documents one after the other, so that a function of text is arithmetic on arrays.

A word is a run of letters and digits (with inner apostrophes) or any other single character that is not blank. The invariant:
columns depend on a document's own text alone, and no function looks beyond a document's ends.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.corpus import Encoded

Mask = NDArray[np.bool_]
Ints = NDArray[np.int32]

WHOLE_WORD = 9
"""Longer words are cut into two tokens, as tokenizers do with the words they seldom see."""
PIECE = 6
"""Characters of a cut word's first token."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\S")


class PieceTokenizer:
    """Words as tokens, long ones as two; white space belongs to the token after it. A `corpus.Tokenizer` that needs no model."""

    def encode(self, text: str) -> Encoded:
        """Token ids (a hash of each token's text) and boundaries of `text`."""
        ends = token_ends([match.span() for match in _WORD.finditer(text)])
        if len(ends):
            ends[-1] = len(text)
        bounds = np.concatenate([[0], ends]).astype(np.int32) if len(ends) or not text else np.array([0, len(text)], dtype=np.int32)
        pieces = (text[start:end] for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
        ids = np.fromiter((zlib.crc32(piece.encode("utf-8", "replace")) >> 1 for piece in pieces), dtype=np.int32)
        return ids, bounds


def token_ends(spans: Sequence[tuple[int, int]]) -> Ints:
    """Where the tokens of words with these (start, end) characters end."""
    ends: list[int] = []
    for start, end in spans:
        if end - start > WHOLE_WORD:
            ends.append(start + PIECE)
        ends.append(end)
    return np.array(ends, dtype=np.int32)


class Columns:
    """The words of some documents; every array has shape (n_words,)."""

    def __init__(self, texts: Sequence[str], sources: Sequence[str], names: Sequence[int]) -> None:
        """`sources` and `names` (64-bit hashes) belong to the documents, as `texts` do."""
        self.texts, self.sources = list(texts), list(sources)
        self.names = np.array(names, dtype=np.uint64)
        self.types: list[str] = []
        """The distinct words, as written."""
        known: dict[str, int] = {}
        kinds, starts, ends, lengths = [], [], [], []
        for text in self.texts:
            found = [(match.group(), *match.span()) for match in _WORD.finditer(text)]
            kinds += [known.setdefault(word, len(known)) for word, _, _ in found]
            starts += [start for _, start, _ in found]
            ends += [end for _, _, end in found]
            lengths.append(len(found))
        self.types = list(known)
        self.kind: Ints = np.array(kinds, dtype=np.int32)
        """Which of `types` each word is."""
        self.start: Ints = np.array(starts, dtype=np.int32)
        """Its first character in its document."""
        self.end: Ints = np.array(ends, dtype=np.int32)
        self.document: Ints = np.repeat(np.arange(len(self.texts), dtype=np.int32), lengths)
        self.first: NDArray[np.int64] = np.cumsum([0, *lengths])
        """First word of each document, and the number of words at last; shape (n_documents + 1,)."""

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def lower(self) -> list[str]:
        """The distinct words case-folded and with straight apostrophes, in the order of `types`."""
        return [word.casefold().replace("’", "'") for word in self.types]

    @cached_property
    def place(self) -> Ints:
        """Each word's number within its document."""
        place: Ints = (np.arange(len(self)) - self.first[self.document]).astype(np.int32)
        return place

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        """The types of each word, case-folded."""
        found: dict[str, list[int]] = {}
        for number, word in enumerate(self.lower):
            found.setdefault(word, []).append(number)
        return found

    def by_type(self, test: Callable[[str], bool]) -> Mask:
        """Words whose type, as written, passes a test."""
        passes = np.fromiter(map(test, self.types), dtype=bool, count=len(self.types))
        marks: Mask = passes[self.kind]
        return marks

    def among(self, words: Iterable[str]) -> Mask:
        """Words that are, folded as in `lower`, one of these."""
        marks = np.zeros(len(self), dtype=bool)
        for number in self._types_of(words):
            marks[self._places[self._bounds[number] : self._bounds[number + 1]]] = True
        return marks

    def count(self, words: Iterable[str]) -> int:
        """How many words are, folded as in `lower`, one of these."""
        numbers = self._types_of(words)
        return int(sum(self._bounds[number + 1] - self._bounds[number] for number in numbers))

    def _types_of(self, words: Iterable[str]) -> list[int]:
        return [number for word in words for number in self._spellings.get(word, ())]

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """All words by type."""
        return np.argsort(self.kind, kind="stable")

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """Where each type begins among `_places`."""
        bounds: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.bincount(self.kind, minlength=len(self.types)))])
        return bounds

    @cached_property
    def is_long(self) -> Mask:
        """Words of at least five letters and nothing else: those that carry content."""
        return self.by_type(lambda word: len(word) >= 5 and word.isalpha())

    def shifted(self, mask: Mask, by: int) -> Mask:
        """True where the word `by` places further on (back, if negative) in the same document is."""
        result = np.zeros(len(self), dtype=bool)
        if by >= 0:
            stop = max(len(self) - by, 0)
            result[:stop] = mask[by:] & (self.document[by:] == self.document[:stop])
        else:
            result[-by:] = mask[:by] & (self.document[:by] == self.document[-by:])
        return result

    def near(self, mask: Mask, span: int, at: Mask) -> Mask:
        """Those words of `at` within `span` words of which, to either side and in the same document, another word of `mask` is."""
        words = np.flatnonzero(at)
        sums = np.concatenate([[0], np.cumsum(mask, dtype=np.int32)])
        low = np.maximum(words - span, self.first[self.document[words]])
        high = np.minimum(words + span + 1, self.first[self.document[words] + 1])
        near = np.zeros(len(self), dtype=bool)
        near[words] = (sums[high] - sums[low] - mask[words]) > 0
        return near

    def runs(self, starts: Mask) -> NDArray[np.int64]:
        """Number of the run each word is in, where a run begins at each document and at each word of `starts`."""
        begins = starts.copy()
        begins[self.first[:-1][np.diff(self.first) > 0]] = True
        numbers: NDArray[np.int64] = np.cumsum(begins) - 1
        return numbers

    @cached_property
    def gap_has_line_end(self) -> Mask:
        """Words before which, in their document, a line ends (or the document begins)."""
        result: Mask = self.place == 0
        for number, text in enumerate(self.texts):
            breaks = np.array([match.start() for match in re.finditer("\n", text)], dtype=np.int32)
            first, last = self.first[number], self.first[number + 1]
            if len(breaks) and last > first:
                after = np.searchsorted(self.start[first:last], breaks)
                result[first + after[after < last - first]] = True
        return result

    @cached_property
    def is_adjacent(self) -> Mask:
        """Words that begin where the word before them, in the same document, ends."""
        result = np.zeros(len(self), dtype=bool)
        result[1:] = (self.start[1:] == self.end[:-1]) & (self.document[1:] == self.document[:-1])
        return result

    @cached_property
    def sentence(self) -> NDArray[np.int64]:
        """Number of each word's sentence: it ends with `.`, `!` or `?` (and the marks that close right behind), or with the line.

        A full stop within a number or an abbreviation, with no white space after it, ends nothing.
        """
        closing = self.by_type(lambda word: word in "\"'”’)]") & self.is_adjacent
        stop = self.by_type(lambda word: word in ".!?")
        ends = stop & ~self.shifted(self.is_adjacent & ~closing & ~stop, 1)
        behind = closing & self.shifted(ends, -1)
        behind |= closing & self.shifted(behind, -1)
        over = ends | behind
        starts = (self.shifted(over, -1) & ~over) | self.gap_has_line_end
        return self.runs(starts)

    @cached_property
    def is_word(self) -> Mask:
        """Words that begin with a letter or digit, not marks."""
        return self.by_type(lambda word: word[0].isalnum())
