"""A subject model with planted directions: whatever reads it, training and evidence alike, sees them and knows nothing of it."""

from collections.abc import Sequence

import torch

from autolabel.errors import DataError
from autolabel.evidence.corpus import Context
from autolabel.evidence.subject import Subject
from autolabel.hashing import content_id
from autolabel.planted.planting import Planting
from autolabel.planted.streams import edit_output


class PlantedSubject(Subject):
    """A model in which amount · activation · direction of every concept is added to the stream at a hookpoint."""

    def __init__(self, subject: Subject, planting: Planting) -> None:
        name = f"{subject.name} with {len(planting.concepts)} planted directions"
        super().__init__(subject.language_model, subject._tokenizer, name, subject.device, subject.number_format)
        self.planting = planting
        self._plain_identity = subject.identity

    @property
    def identity(self) -> str:
        """Hash of the model and of what is planted in it."""
        return content_id("planted subject", [self._plain_identity, self.planting.identity])

    def activations(self, token_ids: torch.Tensor, hookpoint: str) -> torch.Tensor:
        """Refuse token ids that come without their text.

        Raises:
            DataError: always; what fires is known of documents only.
        """
        raise DataError(f"'{self.name}' reads documents only: token ids alone do not tell what its concepts fire on")

    def capture_contexts(
        self, contexts: Sequence[Context], token_ids: torch.Tensor, first: int, hookpoints: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """What `capture` gives with the directions planted; `capture` itself, which knows no text, reads the model without them."""
        amounts = self.planted_amounts(contexts, token_ids.shape[1], first)

        def plant(stream: torch.Tensor) -> torch.Tensor:
            added = torch.zeros_like(stream, dtype=torch.float32)
            added[: len(contexts)] = (amounts @ self.planting.directions).to(stream.device)
            return (stream.float() + added).to(stream.dtype)

        handle = edit_output(self.module_at(self.planting.hookpoint), plant)
        try:
            return self.capture(token_ids, hookpoints)
        finally:
            handle.remove()

    def planted_amounts(self, contexts: Sequence[Context], n_columns: int, first: int) -> torch.Tensor:
        """Length of what is planted along each direction, shape (n_contexts, n_columns, n_concepts)."""
        planting = self.planting
        amounts = torch.zeros(len(contexts), n_columns, len(planting.concepts))
        per_unit = torch.from_numpy(planting.amounts).float()
        for row, context in enumerate(contexts):
            here = planting.activations.of(context.document)[context.start : context.start + context.n_tokens]
            amounts[row, first : first + context.n_tokens] = torch.from_numpy(here.toarray()).float() * per_unit
        return amounts
