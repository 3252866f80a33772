"""Running a causal language model over a shared prefix: the prefix is run once, and what follows it sees its key-value cache.

Token ids in, numbers out; texts, caching and records are the caller's. The invariant is that a row's numbers are those of a full forward
pass over prefix and row, up to rounding, and depend only on the arguments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class Generated:
    """Tokens generated for one row, with the log-probabilities (nats, float32, CPU) of the whole vocabulary at each."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[Tensor] = field(default_factory=list)
    ended: bool = False
    """The model ended it, or it satisfied the stopping condition; otherwise it ran into `max_tokens`."""


class Decoder:
    """Likelihoods and generation with one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        ends = model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    @torch.inference_mode()
    def log_probabilities(self, prefix: Sequence[int], tails: Sequence[Sequence[int]]) -> list[float]:
        """Summed log-probability (nats) of each tail after `prefix`; a tail of one token needs no run of its own."""
        first, cache = self._run(prefix)
        sums = [float(first[tail[0]]) for tail in tails]
        longer = [row for row, tail in enumerate(tails) if len(tail) > 1]
        if longer:
            for row, rest in zip(longer, self._rest(len(prefix), cache, [tails[row] for row in longer]), strict=True):
                sums[row] += rest
        return sums

    def _rest(self, n_prefix: int, cache: Any, tails: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each tail after its first token; all tails run in one row, each blind to the others, without padding."""
        owner = torch.tensor([row for row, tail in enumerate(tails) for _ in tail[1:]])
        place = torch.tensor([i for tail in tails for i in range(len(tail) - 1)])
        sees = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])
        sees = torch.cat([torch.ones(len(owner), n_prefix, dtype=torch.bool), sees], dim=1)
        mask = torch.zeros(sees.shape, dtype=self._model.dtype).masked_fill_(~sees, torch.finfo(self._model.dtype).min)
        logits = self._model(
            self._tensor([[token for tail in tails for token in tail[:-1]]]),
            attention_mask=mask[None, None].to(self._model.device),
            position_ids=(n_prefix + place)[None].to(self._model.device),
            past_key_values=cache,
            use_cache=True,
        ).logits[0]
        wanted = self._tensor([[token for tail in tails for token in tail[1:]]])[0]
        found = torch.log_softmax(logits.float(), dim=-1).gather(1, wanted[:, None])[:, 0].cpu()
        return torch.zeros(len(tails)).index_add_(0, owner, found).tolist()

    @torch.inference_mode()
    def generate(
        self,
        prefix: Sequence[int],
        temperatures: Sequence[float],
        max_tokens: int,
        seed: int,
        stop: Callable[[Sequence[int]], bool],
    ) -> list[Generated]:
        """One row per temperature after `prefix` (0 = greedy), until the model ends it or `stop` holds of its tokens."""
        first, cache = self._run(prefix)
        cache.batch_repeat_interleave(len(temperatures))
        logprobs = first.expand(len(temperatures), -1)
        generator = torch.Generator().manual_seed(seed)
        rows = [Generated() for _ in temperatures]
        for step in range(max_tokens):
            chosen = [_choose(logprobs[i], temperature, generator) for i, temperature in enumerate(temperatures)]
            for row, token, seen in zip(rows, chosen, logprobs, strict=True):
                self._extend(row, token, seen, stop)
            if all(row.ended for row in rows) or step == max_tokens - 1:
                break
            logits = self._model(self._tensor([[token] for token in chosen]), past_key_values=cache, use_cache=True).logits
            logprobs = torch.log_softmax(logits[:, -1].float(), dim=-1).cpu()
        return rows

    def _extend(self, row: Generated, token: int, logprobs: Tensor, stop: Callable[[Sequence[int]], bool]) -> None:
        if row.ended:
            return
        if token in self._ends:
            row.ended = True
            return
        row.ids.append(token)
        row.logprobs.append(logprobs)
        row.ended = stop(row.ids)

    def _run(self, prefix: Sequence[int]) -> tuple[Tensor, Any]:
        output = self._model(self._tensor([prefix]), use_cache=True, logits_to_keep=1)
        return torch.log_softmax(output.logits[0, -1].float(), dim=-1).cpu(), output.past_key_values

    def _tensor(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self._model.device)


def _choose(logprobs: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logprobs.argmax())
    return int(torch.multinomial(torch.softmax(logprobs / temperature, dim=-1), 1, generator=generator))
