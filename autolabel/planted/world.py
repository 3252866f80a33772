"""Level 2 of TruthBench: a model in which planted directions are causes, and how large a cause each is, is known.

What is planted travels in the residual stream itself: whoever adds to the stream along a direction, scales it or projects it out has
the effect that goes with what is then there, and needs to know nothing of this module. The path of a plant:

1. At the planted layer's output, the natural part of the stream along the directions is set aside, so that what is there is activity
   and nothing else, and the activity of the text is put in its place.
2. Layers up to the read point run on the stream as it would be without: activity out, natural part in. Behind each, activity is put
   back in, where it can be read and changed.
3. At the read point, activity is read and erased for good, and the natural part is put back.
4. Tokens that a plant promotes gain delta · activity / natural maximum nats in the next-token distribution of the same position.

So the installed path is the only one, and behind the read point everything runs as in the plain model, bit by bit, whatever is active.
The effect is linear from minus one to plus one natural maximum and stays what it is there beyond, so that a dose that nature knows
nothing of gains nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from autolabel.errors import DataError
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import Cause, truth_rows
from autolabel.planted.concepts import checked
from autolabel.planted.effects import raised
from autolabel.planted.interventions import Intervention, changed
from autolabel.planted.planting import Planting
from autolabel.planted.streams import edit_input, edit_output

SILENT = 1e-3
"""Activity below this share of the natural maximum counts as none: so much rounding to bfloat16 makes of nothing."""
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Passage:
    """A text as the model reads it, with the activity that is natural there."""

    token_ids: torch.Tensor
    """(1, 1 + n_tokens), BOS first."""
    activity: torch.Tensor
    """(1, 1 + n_tokens, n_plants), in the concepts' own units, float64."""


@dataclass(frozen=True, slots=True)
class Readout:
    """What the model says at every position."""

    log_probs: torch.Tensor
    """(batch, n, vocabulary), float32, of the next token."""
    activity: torch.Tensor
    """(batch, n, n_plants), as it was read, in the concepts' own units."""
    clipped: torch.Tensor
    """(batch, n), bool: where the promoted tokens would have risen above .99 together and rose less."""


class CausalWorld:
    """Hooks on a model that make planted directions causes; they are there within `with world:`."""

    def __init__(self, subject: Subject, planting: Planting, causes: Sequence[Cause], read: str | None = None) -> None:
        """Prepare; nothing is hooked yet.

        Args:
            subject: the plain model.
            planting: the directions, in the output of a whole layer.
            causes: one for each, in their order.
            read: the layer at whose input activity is read and erased; the one after the planted layer when not given.

        Raises:
            DataError: the causes are not those of the concepts, a concept fires nowhere, a target token is none of the model's, or the
                read point is not behind the planted layer.
        """
        if [cause.concept for cause in causes] != planting.labels:
            raise DataError("the causes are not those of the planted concepts; give one for each, in their order")
        silent = [label for label, most in zip(planting.labels, planting.maxima, strict=True) if most <= 0]
        if silent:
            raise DataError(
                f"'{silent[0]}' fires nowhere in the text that was measured, so its natural maximum is unknown; leave it out"
            )
        _require_tokens(subject, causes)
        self.subject, self.planting, self.causes = subject, planting, tuple(causes)
        self._between, self.read = _path(subject, planting.hookpoint, read)
        device = subject.device
        self._directions = planting.directions.double().to(device)
        self._amounts, self._maxima = (torch.from_numpy(values).to(device) for values in (planting.amounts, planting.maxima))
        self._columns = torch.tensor(sorted({token for cause in causes for token in cause.targets.token_ids}), device=device)
        promoted = [np.isin(self._columns.cpu().numpy(), cause.targets.token_ids) * cause.delta for cause in causes]
        self._nats = torch.from_numpy(np.stack(promoted)).to(device)
        """(n_plants, n_columns): nats that each adds to each promoted token at its natural maximum."""
        self._handles: list[RemovableHandle] = []
        self._shown: torch.Tensor | None = None
        self._natural = self._active = self._carried = self._clipped = torch.empty(0)

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("this world is installed already")
        module_at = self.subject.module_at
        self._handles = [edit_output(module_at(self.planting.hookpoint), self._plant)]
        for layer in self._between:
            self._handles.append(edit_input(module_at(layer), self._take_out))
            self._handles.append(edit_output(module_at(layer), self._put_back))
        self._handles.append(edit_input(module_at(self.read), self._take_out))
        self._handles.append(self.subject.language_model.register_forward_hook(self._promote, prepend=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._natural = self._active = torch.empty(0)

    @contextmanager
    def showing(self, activity: torch.Tensor) -> Iterator[None]:
        """Passes of the model made within are over tokens with this natural activity, shape (batch or 1, n, n_plants).

        With a cache of keys and values, n is the tokens of a pass: activity acts on the position it is at and on none after it.
        """
        before, self._shown = self._shown, activity.to(self._directions)
        try:
            yield
        finally:
            self._shown = before

    def passage(self, text: str) -> Passage:
        """The tokens of a text, and what the concepts do on them."""
        token_ids, bounds = self.subject.encode(text)
        columns = [checked(concept, text, bounds) for concept in self.planting.concepts]
        activity = np.concatenate([np.zeros((1, len(columns))), np.stack(columns, axis=1)])
        ids = torch.tensor([[self.subject.first_token_id, *token_ids.tolist()]])
        return Passage(ids, torch.from_numpy(activity)[None])

    @torch.inference_mode()
    def log_probs(
        self, token_ids: torch.Tensor, activity: torch.Tensor | None = None, interventions: Sequence[Intervention] = ()
    ) -> Readout:
        """What the model says after each of `token_ids`, shape (batch, n), with this natural activity (none by default), changed so.

        Raises:
            ValueError: an intervention names a plant or a position that there is not.
        """
        natural = torch.zeros(1, token_ids.shape[1], len(self.causes)) if activity is None else activity
        with nullcontext() if self._handles else self, self.showing(changed(natural, interventions)):
            logits = self.subject.language_model(token_ids.to(self.subject.device), use_cache=False).logits
        return Readout(logits.double().log_softmax(-1).float(), self._carried / self._amounts, self._clipped)

    def decoder(self, plant: int, cosine: float = 1.0, seed: int = 0) -> torch.Tensor:
        """A direction of norm 1 with this cosine to a plant's, as an SAE that found it about so well would have; shape (d_model,).

        What of it lies off the plant's direction is orthogonal to all plants, drawn by `seed`, and acts on the real model.
        """
        own = self.planting.directions.double()
        random = torch.from_numpy(np.random.default_rng([seed, plant]).standard_normal(own.shape[1]))
        random = random - own.T @ (own @ random)
        direction: torch.Tensor = cosine * own[plant] + (1 - cosine**2) ** 0.5 * random / random.norm()
        return direction.float()

    def truth(self) -> list[dict[str, Any]]:
        """What a causal test is to find, a row per plant, ready for JSON."""
        return truth_rows(self.planting, self.causes, self.read)

    def _plant(self, stream: torch.Tensor) -> torch.Tensor:
        activity = torch.zeros((), dtype=torch.float64, device=stream.device)
        if self._shown is not None:
            if self._shown.shape[1] != stream.shape[1] or self._shown.shape[0] not in (1, stream.shape[0]):
                shapes = f"{tuple(self._shown.shape[:2])} cannot be shown to a pass over {tuple(stream.shape[:2])} tokens"
                raise ValueError(f"activity of shape {shapes}")
            activity = self._shown
        return self._with_activity(stream, activity * self._amounts)

    def _put_back(self, stream: torch.Tensor) -> torch.Tensor:
        return self._with_activity(stream, self._carried)

    def _with_activity(self, stream: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        """The stream with `along` in place of what it naturally has along the directions; both are remembered."""
        x = stream.double()
        exchanged: torch.Tensor = x + (along - x @ self._directions.T) @ self._directions
        self._natural, self._active = stream, exchanged.to(stream.dtype)
        return self._active

    def _take_out(self, stream: torch.Tensor) -> torch.Tensor:
        """The natural stream, bit by bit, and with it what somebody has changed off the directions since activity was put in."""
        x = stream.double()
        self._carried = x @ self._directions.T
        since = x - self._active.double()
        since = since - since @ self._directions.T @ self._directions
        return (self._natural.double() + since).to(stream.dtype)

    def _promote(self, _module: torch.nn.Module, _inputs: object, output: Any) -> Any:
        share = (self._carried / (self._amounts * self._maxima)).clamp(-1, 1)
        nats = torch.where(share.abs() < SILENT, 0.0, share) @ self._nats
        logits = output.logits
        self._clipped = torch.zeros(nats.shape[:2], dtype=torch.bool, device=nats.device)
        first = nats.shape[1] - logits.shape[1]
        batch, position = (nats[:, first:] != 0).any(-1).nonzero(as_tuple=True)
        if len(batch):
            output.logits = logits = logits.float().clone()
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            rows, places = batch[start : start + _ROWS_AT_ONCE], position[start : start + _ROWS_AT_ONCE]
            own = raised(logits[rows, places], self._columns, nats[rows, places + first])
            logits[rows, places], self._clipped[rows, places + first] = own[0].float(), own[1]
        return output


def _require_tokens(subject: Subject, causes: Sequence[Cause]) -> None:
    model: Any = subject.language_model
    n_tokens = int(model.get_output_embeddings().weight.shape[0])
    for cause in causes:
        for token in cause.targets.token_ids:
            if not 0 <= token < n_tokens:
                raise DataError(
                    f"'{cause.concept}' promotes the token {token}, but the model has {n_tokens} tokens, 0 to {n_tokens - 1}; "
                    "were the targets made with another model's tokenizer?"
                )


def _path(subject: Subject, planted: str, read: str | None) -> tuple[list[str], str]:
    """Layers between the planted one and the read point, and the layer at whose input activity is read.

    Raises:
        DataError: activity is not planted in a layer's output, or nothing lies behind it there.
    """
    start = subject.resolve(planted)
    if start.layer is None or not start.module.rsplit(".", 1)[-1].isdigit():
        raise DataError(f"causes are planted in the output of a whole layer, which '{planted}' is not; name layers.3 for example")
    later = [str(point) for point in subject.other_layers(planted) if point.layer is not None and point.layer > start.layer]
    if not later:
        raise DataError(f"'{planted}' is the last layer, behind which nothing can be read; plant at an earlier one")
    end = later[0] if read is None else str(subject.resolve(read))
    if end not in later:
        raise DataError(f"'{end}' is no layer behind '{planted}'; read at one of {later[0]} … {later[-1]}")
    return later[: later.index(end)], end
