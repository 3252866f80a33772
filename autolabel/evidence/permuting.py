"""A subject model whose blocks have learnt nothing: their weights in another order, drawn by hash.

What an SAE over such a model yields is what tokens and architecture give without any learning in between (validity §13; Heap et al., 2025,
arXiv 2501.17727): labels that are worth as much there say nothing of what the model has learnt. The invariant: a permutation follows from seed and parameter name alone, the same on
any machine, and no weight is lost or changed, so that every matrix keeps its norm and the distribution of its entries.
"""

import re

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.hooks import reads_text
from autolabel.hashing import combine, content_id

CONTROL = "random_weights"
"""What `evidence_sets.control` calls evidence from a permuted model."""
_IN_A_BLOCK = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.\d+\..+")


def permute_blocks(model: torch.nn.Module, seed: int) -> int:
    """Permute the entries of every weight matrix of a model's blocks within the matrix, in place; how many matrices there were.

    Embedding, unembedding and everything that is no matrix (norms, biases) stay as they are: tokens still differ from each other, and
    what happens to them in between is arbitrary. Of a stack of matrices, such as those of experts, each keeps its own entries. A matrix
    that several blocks share is permuted once.

    Raises:
        DataError: the model has no blocks, or their weights are not here or not plain numbers.
    """
    found = [(name, weight) for name, weight in model.named_parameters() if _IN_A_BLOCK.fullmatch(name) and reads_text(name)]
    matrices = [(name, weight) for name, weight in found if weight.dim() >= 2]
    if not matrices:
        some = ", ".join([name for name, _ in model.named_parameters()][:4])
        raise DataError(
            f"no weight matrix of the model lies in a block called layers.N, h.N or blocks.N (it has {some}, …), so its weights "
            'cannot be permuted; set subject.weights = "as_they_are"'
        )
    for name, weight in matrices:
        if weight.is_meta or not weight.is_floating_point():
            what = "is not in memory" if weight.is_meta else f"holds {str(weight.dtype).removeprefix('torch.')}"
            raise DataError(
                f"'{name}' {what}, so its entries cannot be permuted; load the whole model on one device, without quantization"
            )
    with torch.no_grad():
        for name, weight in matrices:
            _permute(name, weight, seed)
    return len(matrices)


def permutation(seed: int, name: str, number: int, n: int) -> NDArray[np.int64]:
    """The order, shape (n,), in which the entries of matrix `number` of a parameter are put: entry i becomes entry order[i] of old.

    Places are sorted by a hash of (seed, name, number, place), which is a bijection of the place, so there are no ties.
    """
    named = int(content_id("permutation", [seed, name, number])[:16], 16)
    order: NDArray[np.int64] = np.argsort(combine(named, np.arange(n, dtype=np.uint64)))
    return order


def _permute(name: str, weight: torch.Tensor, seed: int) -> None:
    stack = weight.data.reshape(-1, weight.shape[-2] * weight.shape[-1])
    for number, matrix in enumerate(stack):
        order = torch.from_numpy(permutation(seed, name, number, len(matrix))).to(matrix.device)
        stack[number] = matrix[order]
    weight.data.copy_(stack.view(weight.shape))
