"""Tokens as files write them, turned into text that people can read.

Tokenizers write their tokens in three styles: as the text they stand for; in the 256-letter alphabet of byte-level BPE, where `Ġ` is a
blank (Radford et al., 2019); or as SentencePiece does, with `▁` for a blank and `<0x0A>` for a byte. The invariant: boundaries lie
between whole characters. A character that is split over several tokens belongs to the first of them; the others are empty.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_CONTEXT_BYTES
from autolabel.evidence.sources.token_numbers import TokenNumbers

TokenStyle = Literal["text", "bpe", "sentencepiece"]

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MOST_KNOWN = 1 << 19
_LONGEST_KNOWN = 256
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a context and its tokens."""

    text: str
    bounds: NDArray[np.int32]
    """Token boundaries in characters, shape (n_tokens + 1,): token i covers bounds[i] to bounds[i + 1]."""
    token_ids: NDArray[np.int32]
    """A number for each token, equal for equal tokens (see `token_numbers`)."""


class TokenReader:
    """Reads tokens of one style; remembers the short ones it has met, up to a limit."""

    def __init__(self, style: TokenStyle, mend: bool = False) -> None:
        """`mend` turns single tokens of style `text` that were left in the BPE alphabet (`âĢĻ`) into what they stand for."""
        self.style: TokenStyle = style
        self._mend = mend and style == "text"
        self._known: dict[str, tuple[bytes, int]] = {}
        self._numbers = TokenNumbers()

    def meet(self, tokens: Iterable[str]) -> None:
        """Meet tokens without reading a text."""
        for token in tokens:
            self._learn(token)

    def settle(self) -> None:
        """All tokens of the source have been read once: from now on their numbers are final."""
        self._numbers.settle()
        self._known.clear()

    def read(self, tokens: Sequence[str], where: str = "the context") -> Text:
        """The text of consecutive tokens; bytes that are no UTF-8 become `U+FFFD`.

        Raises:
            DataError: it is too long; the message begins with `where`.
        """
        known = [self._known.get(token) or self._learn(token) for token in tokens]
        n_bytes = sum(len(piece) for piece, _ in known)
        if n_bytes > MAX_CONTEXT_BYTES:
            raise DataError(
                f"{where} has a text of {n_bytes} bytes, at most {MAX_CONTEXT_BYTES} are possible; cut it into several contexts"
            )
        text, bounds = _joined([piece for piece, _ in known])
        return Text(text, bounds, np.array([number for _, number in known], dtype=np.int32))

    def _learn(self, token: str) -> tuple[bytes, int]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        piece = token_bytes(token, self.style)
        if self._mend:
            piece = _mended(token, piece)
        known = piece, self._numbers.of(piece)
        if len(piece) <= _LONGEST_KNOWN:
            self._known[token] = known
        return known


def token_bytes(token: str, style: TokenStyle) -> bytes:
    """The bytes a token stands for. What cannot be written in the style (an added token such as `\\n\\n`) stands for itself."""
    if style == "bpe":
        return b"".join(BPE_ALPHABET.get(letter) or _utf8(letter) for letter in token)
    if style == "sentencepiece":
        byte = _BYTE_PIECE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else _utf8(token.replace("▁", " "))
    return _utf8(token)


def detect_style(tokens: Iterable[str]) -> TokenStyle:
    """The style that most tokens with a blank or line end at their start are written in; `text` when there is none."""
    starts = {"text": 0, "bpe": 0, "sentencepiece": 0}
    for token in tokens:
        first = token[:1]
        if first in ("Ġ", "Ċ"):
            starts["bpe"] += 1
        elif first == "▁":
            starts["sentencepiece"] += 1
        elif first.isspace():
            starts["text"] += 1
    if starts["bpe"] > max(starts["text"], starts["sentencepiece"]):
        return "bpe"
    return "sentencepiece" if starts["sentencepiece"] > starts["text"] else "text"


def _alphabet() -> dict[str, bytes]:
    """Letter → byte: printable Latin-1 characters stand for themselves, the other bytes for the letters from `Ā` on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): bytes([byte]) for byte in printable} | {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}


BPE_ALPHABET = _alphabet()
"""The alphabet of byte-level BPE."""


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _mended(token: str, piece: bytes) -> bytes:
    """`piece`, or what the token says in the BPE alphabet if that is UTF-8 with a character beyond ASCII in it."""
    if token.isascii() or any(letter not in BPE_ALPHABET and letter != " " for letter in token):
        return piece
    meant = token_bytes(token, "bpe")
    try:
        meant.decode("utf-8")
    except UnicodeDecodeError:
        return piece
    return meant


def _joined(pieces: Sequence[bytes]) -> tuple[str, NDArray[np.int32]]:
    """The text of consecutive pieces of UTF-8 and the piece boundaries in it."""
    text = b"".join(pieces).decode("utf-8", errors="surrogateescape")
    ends = np.cumsum([0, *map(len, pieces)])
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    stray = (codes >= 0xDC80) & (codes <= 0xDCFF)
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    first_bytes = np.cumsum(np.where(stray, 1, widths)) - np.where(stray, 1, widths)
    bounds = np.searchsorted(first_bytes, ends).astype(np.int32)
    return _LONE_SURROGATES.sub(_REPLACEMENT, text), bounds
