"""Two features whose meaning is known, over made-up sentences: one fires on dogs, the other on boats; and an LLM that judges honestly."""

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace

from autolabel.hashing import content_id
from autolabel.metrics import label_score
from autolabel.records import (
    AnsweredToken,
    ChatReply,
    ChatRequest,
    Example,
    ExampleKind,
    FeatureEvidence,
    Label,
    Prediction,
    Split,
    Stratum,
)

DOGS, BOATS = ("dog", "dogs", "puppy"), ("boat", "boats", "ferry")
DOG_LABEL, BOAT_LABEL = "dog dogs puppy", "boat boats ferry"
"""Labels that spell out their words, so that stand-ins that count words can judge them too."""
FAMILIES = {DOG_LABEL: DOGS, BOAT_LABEL: BOATS}
_FILLER = [
    "green",
    "table",
    "rain",
    "walked",
    "slowly",
    "old",
    "house",
    "left",
    "window",
    "bread",
    "morning",
    "sings",
    "paper",
    "seven",
    "doghouse",
    "dogma",
    "cat",
    "hill",
]
_KINDS: dict[Stratum, ExampleKind] = {"firing": "firing", "hard": "lookalike", "random": "background"}
N_CONTEXT = 4


def example(
    words: Sequence[str], family: Sequence[str], stratum: Stratum | None, split: Split, kind: ExampleKind, rank: int = 0
) -> Example:
    """A window of these words, a token each, that fires on the words of `family`; its first four tokens are left context."""
    tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    fired = tuple(i for i, word in enumerate(words) if word.casefold() in family and i >= N_CONTEXT)
    marks = fired or (N_CONTEXT + rank % (len(words) - N_CONTEXT),)
    text = "".join(tokens)
    return Example(
        window_id=content_id("window", [text, split]),
        document_id=content_id("document", text),
        source_document_id=content_id("document", text),
        tile_index=0,
        split=split,
        kind=kind,
        stratum=stratum,
        text=text,
        token_starts=tuple(sum(map(len, tokens[:i])) for i in range(len(tokens))),
        n_context_tokens=N_CONTEXT,
        positions=fired,
        activations=tuple(2.0 + rank / 10 for _ in fired),
        max_activation=2.0 + rank / 10 if fired else 0.0,
        sample_rank=rank,
        in_exam=split != "train",
        mark_positions=marks,
    )


def evidence(family: Sequence[str] = DOGS, feature: int = 0, n: int = 20, seed: int = 0) -> FeatureEvidence:
    """`n` tiles of each group and split. Every third tile of every group holds a word of the other family, which tells nothing."""
    draw = random.Random(f"{family} {seed}")
    other = BOATS if family == DOGS else DOGS
    found: list[Example] = []
    for split in ("train", "validation", "test"):
        for stratum, kind in _KINDS.items():
            for rank in range(n):
                words = draw.choices(_FILLER, k=14)
                if rank % 3 == 0:
                    words[N_CONTEXT + 1] = draw.choice(other)
                if stratum == "firing":
                    words[N_CONTEXT + 4] = family[rank % 3] if rank % 2 else family[rank % 3].title()
                found.append(example(words, family, stratum, split, kind, rank))
    strongest = [replace(e, kind="strongest", stratum=None, in_exam=False) for e in found[:n][-6:]]
    # Tiles lie in no helpful order, so that an answer given to its neighbour is a wrong one.
    found.sort(key=lambda e: e.window_id)
    return FeatureEvidence("sae", "evidence", feature, "alive", 0.05, 5.0, (*strongest, *found))


def label(text: str, feature: int = 0, **changes: object) -> Label:
    made = Label(content_id("label", [text, feature]), "evidence", "sae", feature, "ok", "explain", text=text)
    return replace(made, **changes)  # type: ignore[arg-type]


def judged(request: ChatRequest) -> list[bool]:
    """The right answers to a detection or fuzzing request, read off what it shows and nothing else."""
    content = request.messages[-1].content
    (asked,) = re.findall(r"^Label: (.*)$", content, re.MULTILINE)
    texts = re.findall(r"^(?:\d+\.|Text:) (.*)$", content, re.MULTILINE)
    if "<<" in content:
        texts = [" ".join(re.findall(r"<<(.*?)>>", text)) for text in texts]
    return [bool(set(FAMILIES.get(asked, (asked,))) & set(re.findall(r"\w+", text.casefold()))) for text in texts]


def answers_text(answers: Sequence[bool], request: ChatRequest) -> str:
    one = "Texts:" not in request.messages[-1].content
    return str(int(answers[0])) if one else json.dumps([int(answer) for answer in answers])


def honest(request: ChatRequest) -> str:
    return answers_text(judged(request), request)


def honest_with_probabilities(request: ChatRequest) -> ChatReply:
    """The same with token probabilities: .9 for the answer given."""
    text = honest(request)
    given = {"1": {"1": math.log(0.9), "0": math.log(0.1)}, "0": {"0": math.log(0.9), "1": math.log(0.1)}}
    tokens = tuple(AnsweredToken(c, given[c][c] if c in given else 0.0, given.get(c, {c: 0.0})) for c in text)
    return ChatReply(text, "stop", "fake", tokens if request.top_logprobs else None)


def score(found: FeatureEvidence, predictions: Sequence[Prediction], split: Split = "test") -> float:
    """`label_score` of predictions on the exam."""
    exam = found.exam(split)
    value = label_score(
        [p.value for p in predictions if p.value is not None],
        [str(e.stratum) for e in exam],
        [e.source_document_id for e in exam],
        seed=0,
    ).value
    assert value is not None
    return value
