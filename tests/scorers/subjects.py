"""A stand-in for the subject model: features that fire on words."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

D_SAE = 40


class WordSubject:
    """Feature f activates by 1 + its number of words in a text, where it fires at all."""

    def __init__(self, words: Mapping[int, Sequence[str]]) -> None:
        self.words = {feature: set(own) for feature, own in words.items()}
        self.asked: list[list[str]] = []

    def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        found = np.zeros((len(texts), D_SAE), dtype=np.float32)
        for row, text in enumerate(texts):
            said = re.findall(r"\w+", text.casefold())
            for feature, own in self.words.items():
                n = sum(word in own for word in said)
                found[row, feature] = 1.0 + n if n else 0.0
        return found
