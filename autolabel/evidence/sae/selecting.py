"""Which features of a block of pre-activations are active: exact, sorted by token and feature, with one rule for ties.

The invariant: what is chosen for a row depends on that row alone, and of equal values the lower feature index wins.
"""

import torch

from autolabel.evidence.sae.scratch import SCRATCH

_WORD = 8
_FOLDS = 8
_FOLD_FROM = 32
"""Features per active one from which folding pays, measured from 2,048 to 131,072 features and k from 16 to 256."""
_LOW = 2**32 - 1

Entries = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Row (int64), feature (int64) and value (float32) of every active entry, each of shape (n_active,)."""


def above(pre: torch.Tensor, threshold: torch.Tensor | float) -> Entries:
    """The entries of `pre`, shape (rows, d_sae), contiguous, that exceed `threshold`, a number or shape (d_sae,)."""
    d_sae = pre.shape[1]
    mask = SCRATCH.take("above", tuple(pre.shape), torch.bool, pre.device)
    torch.gt(pre, threshold, out=mask)
    if d_sae % _WORD:
        found_rows, features = mask.nonzero(as_tuple=True)
        return found_rows, features, pre[found_rows, features]
    # Nearly all entries are off: eight of them are looked at as one word, in about half the time.
    words = mask.view(torch.int64).view(-1).nonzero().squeeze(1)
    inside = mask.view(-1, _WORD)[words].nonzero()
    flat = words[inside[:, 0]] * _WORD + inside[:, 1]
    return flat // d_sae, flat % d_sae, pre.view(-1)[flat]


def largest(pre: torch.Tensor, k: int) -> Entries:
    """The `k` largest entries of each row of `pre`, shape (rows, d_sae), contiguous, of which those that are positive."""
    rows, d_sae = pre.shape
    if k == d_sae:
        return above(pre, 0.0)
    if d_sae % _FOLDS or d_sae < _FOLD_FROM * k:
        features, tied = _top(pre, k)
    else:
        # The k largest entries lie in the k columns with the largest maxima, once each row is folded into several.
        columns = d_sae // _FOLDS
        folded = pre.view(rows, _FOLDS, columns)
        best, columns_tied = _top(folded.amax(1), k)
        places, tied = _top(folded.gather(2, best[:, None, :].expand(rows, _FOLDS, k)).view(rows, _FOLDS * k), k)
        features, tied = places // k * columns + best.gather(1, places % k), tied | columns_tied
    features = features.sort(dim=1).values
    if bool(tied.any()):
        features[tied] = _top_by_key(pre[tied], k)
    return _positive(features, pre.gather(1, features))


def largest_of_groups(pre: torch.Tensor, n_groups: int) -> Entries:
    """The largest entry of each of `n_groups` equal runs of features, of which those that are positive."""
    rows, d_sae = pre.shape
    values, places = pre.view(rows, n_groups, d_sae // n_groups).max(2)
    return _positive(places + torch.arange(n_groups, device=pre.device) * (d_sae // n_groups), values)


def _top(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the `k` largest entries of each row, and whether another place is as good as one of them."""
    found = values.topk(k + 1, dim=1)
    tied = (found.values[:, k - 1] == found.values[:, k]) & (found.values[:, k] > 0)
    return found.indices[:, :k], tied


def _top_by_key(values: torch.Tensor, k: int) -> torch.Tensor:
    """Places of the `k` largest positive entries of each row, ascending, of equal ones the lower.

    A float that is not negative orders like its bits, so value and place make one integer key and no two keys are equal.
    """
    places = torch.arange(_LOW, _LOW - values.shape[1], -1, device=values.device)
    keys = (values.relu().view(torch.int32).to(torch.int64) << 32) | places
    return (_LOW - (keys.topk(k, dim=1, sorted=False).values & _LOW)).sort(dim=1).values


def _positive(features: torch.Tensor, values: torch.Tensor) -> Entries:
    """The positive ones of the entries chosen for each row, features ascending within it."""
    found_rows, places = (values > 0).nonzero(as_tuple=True)
    return found_rows, features[found_rows, places], values[found_rows, places]
