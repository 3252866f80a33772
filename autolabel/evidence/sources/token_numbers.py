"""A number for each token of a source: the same on any machine and in whatever order tokens are met, and no two alike.

A number is 31 bits of the hash of the token's bytes; among 128,000 tokens some four pairs share theirs. So the tokens of a source are
met once before any number counts. Where several have one number, the first by their 64-bit hashes keeps it, and the others, in that
order, get the next numbers that nobody has.
"""

import hashlib
from array import array

import numpy as np
from numpy.typing import NDArray

_MOST_NUMBERS = 1 << 31
_TIDY_AT = 1 << 20


class TokenNumbers:
    """Gives tokens their numbers; 12 bytes are kept for each distinct token until `settle`, and little afterwards."""

    def __init__(self) -> None:
        self._met: tuple[array[int], array[int]] | None = array("Q"), array("i")
        self._tidy_at = _TIDY_AT
        self._moved: dict[int, int] = {}

    def of(self, piece: bytes) -> int:
        """The number of a token; final once `settle` has been called."""
        own, number = hash_of_piece(piece), plain_number(piece)
        if self._met is None:
            return self._moved.get(own, number)
        hashes, numbers = self._met
        hashes.append(own)
        numbers.append(number)
        if len(hashes) >= self._tidy_at:
            known, first = np.unique(np.array(hashes, dtype=np.uint64), return_index=True)
            self._met = array("Q", known.tobytes()), array("i", np.array(numbers, dtype=np.int32)[first].tobytes())
            self._tidy_at = 2 * len(known) + _TIDY_AT
        return number

    def settle(self) -> None:
        """All tokens have been met: from now on no two of them have the same number."""
        if self._met is None:
            return
        hashes, first = np.unique(np.array(self._met[0], dtype=np.uint64), return_index=True)
        numbers = np.array(self._met[1], dtype=np.int32)[first]
        self._met = None
        taken = np.unique(numbers)
        order = np.argsort(numbers, kind="stable")  # equal numbers by their hashes, which ascend
        again = order[1:][numbers[order[1:]] == numbers[order[:-1]]]
        given: set[int] = set()
        for place in np.sort(again).tolist():
            number = _next_free(int(numbers[place]), taken, given)
            given.add(number)
            self._moved[int(hashes[place])] = number


def hash_of_piece(piece: bytes) -> int:
    """64 bits that tell tokens apart."""
    return int.from_bytes(hashlib.blake2b(piece, digest_size=8).digest(), "big")


def plain_number(piece: bytes) -> int:
    """31 bits of a token's hash."""
    return int.from_bytes(hashlib.blake2b(piece, digest_size=4).digest(), "big") >> 1


def _next_free(number: int, taken: NDArray[np.int32], given: set[int]) -> int:
    while True:
        number = (number + 1) % _MOST_NUMBERS
        place = int(np.searchsorted(taken, number))
        if number not in given and (place == len(taken) or taken[place] != number):
            return number
