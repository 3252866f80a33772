"""Changing what a model says next by an amount that is known: chosen tokens gain nats, all others give way in proportion."""

import math

import torch

HIGHEST_SHARE = 0.99
"""Chosen tokens are never raised above this probability together; where they stand above it by themselves, they stay."""


def raised(logits: torch.Tensor, columns: torch.Tensor, nats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits under which log p of token `columns[j]` has changed by `nats[:, j]`, shape (n, n_columns).

    Tokens with 0 nats are among the others, whose probabilities all change by one factor. So p(T) of a set T of tokens with the same
    nats changes by exactly that, unless it was clipped: all chosen tokens then gain less, each by the same amount.

    Args:
        logits: shape (n, vocabulary).
        columns: distinct token ids, shape (n_columns,).
        nats: float64; in each row at least one is not 0.

    Returns:
        Logits in float64, with the same log-sum as before, and which rows were clipped, bool, shape (n,).
    """
    x = logits.double()
    chosen, own = nats != 0, x[:, columns]
    total = x.logsumexp(1)
    without = x.clone()
    without[:, columns] = own.masked_fill(chosen, -torch.inf)
    rest = without.logsumexp(1) - total
    before = own.masked_fill(~chosen, -torch.inf).logsumexp(1) - total
    after = (own + nats).masked_fill(~chosen, -torch.inf).logsumexp(1) - total
    clip = (before.clamp(min=math.log(HIGHEST_SHARE)) - after).clamp(max=0)
    # 1 − p' written as (1 − p) − p (e^gain − 1), which keeps its digits where p is nearly 1.
    ratio = (before - rest).clamp(max=700).exp()
    changed = x + torch.log1p(-ratio * torch.expm1(after + clip - before))[:, None]
    changed[:, columns] = torch.where(chosen, own + nats + clip[:, None], changed[:, columns])
    return changed, clip < 0
