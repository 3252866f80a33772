"""Content hashes: every derived row's id is the hash of what determines it, so the same work has the same id on any machine."""

import hashlib
import json
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]


def canonical_json(value: Any) -> str:
    """Render `value` as the one JSON text that ids are hashed from. Changing this changes every id ever stored."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(kind: str, value: Any) -> str:
    """The id of a row of `kind` determined by `value` (anything JSON can hold): 32 hex digits of sha256."""
    return hashlib.sha256(f"{kind}\n{canonical_json(value)}".encode()).hexdigest()[:32]


def text_hash(text: str) -> str:
    """`sha256:` and the digest of `text` in UTF-8 with LF line ends; names prompt bodies."""
    return "sha256:" + hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def normalised(text: str) -> str:
    """The form under which two documents count as the same: NFKC, case-folded, runs of white space as one blank."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def document_hash(text: str) -> int:
    """64-bit hash of a document's normalised text; its name, its split and its sampling all follow from it."""
    return int.from_bytes(hashlib.sha256(normalised(text).encode()).digest()[:8], "big")


def mix(values: UInt64) -> UInt64:
    """The splitmix64 finaliser (Steele et al., 2014): a bijection of 64-bit words that scatters neighbouring inputs."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def combine(*parts: UInt64 | int) -> UInt64:
    """One 64-bit hash of several words, elementwise with broadcasting; the order of the parts matters."""
    result = np.zeros((), dtype=np.uint64)
    for part in parts:
        word = np.uint64(part & 0xFFFFFFFFFFFFFFFF) if isinstance(part, int) else part.astype(np.uint64, copy=False)
        result = mix(result ^ word)
    return result
