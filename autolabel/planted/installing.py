"""Level 2 from a model, concepts and text: directions chosen, causes dealt out, hooks prepared."""

from collections.abc import Mapping, Sequence

from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import DEFAULT_EFFECTS, Kind, deal_causes
from autolabel.planted.concepts import Concept
from autolabel.planted.planting import PlantingSettings, plan
from autolabel.planted.world import CausalWorld


def causal_world(
    subject: Subject,
    hookpoint: str,
    concepts: Sequence[Concept],
    words: Mapping[str, Sequence[str]],
    documents: Sequence[Document],
    context_tokens: int,
    planting: PlantingSettings,
    effects: Sequence[tuple[Kind, float]] = DEFAULT_EFFECTS,
    read: str | None = None,
) -> CausalWorld:
    """A world in which every concept has a direction at `hookpoint` and one of `effects`, all of them at once.

    Args:
        subject: the plain model.
        hookpoint: a whole layer.
        concepts: what fires.
        words: for each label, what it says will come next: whatever words a causal test is to be given, written from the label alone.
        documents: text on which strengths and natural maxima are measured.
        context_tokens: length of a context.
        planting: strengths and seed; the seed also deals out the effects.
        effects: kinds and nats, dealt out in turn.
        read: see `CausalWorld`.

    Raises:
        DataError: the concepts cannot be planted there, one fires nowhere in `documents`, or a label has no words.
    """
    planned = plan(subject, hookpoint, concepts, documents, context_tokens, planting)
    return CausalWorld(subject, planned, deal_causes(subject, planned, words, effects, planting.seed), read)
