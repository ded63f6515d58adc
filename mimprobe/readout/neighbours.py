"""Weighted nearest neighbours: what a frozen representation knows without any training."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mimprobe.errors import OptionError
from mimprobe.shapes import Pooled

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""As DINO's authors evaluate."""

BLOCK = 1024
"""Queries whose similarities to all references are held at once."""


def nearest_neighbours_correct(
    features: Pooled,
    labels: Int[Tensor, " image"],
    query_features: Float[Tensor, "query feature"],
    query_labels: Int[Tensor, " query"],
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Bool[Tensor, " query"]:
    """Tell for each query whether its neighbours vote for its label.

    The `k` references of largest cosine similarity s vote with weight exp(s / temperature), as in
    DINO (arXiv 2104.14294, section 4.1); the mean of the result is the accuracy.

    Raises:
        OptionError: `k` is larger than the number of references, or not positive.
    """
    if not 1 <= k <= len(features):
        raise OptionError(f"k={k} neighbours out of {len(features)} images; choose a smaller k")
    references = normalize(features.float(), dim=1)
    classes = int(max(labels.max(), query_labels.max())) + 1
    correct = []
    blocks = torch.split(normalize(query_features.float(), dim=1), BLOCK)
    for queries, truth in zip(blocks, torch.split(query_labels, BLOCK), strict=True):
        similarity, nearest = (queries @ references.T).topk(k, dim=1)
        votes = torch.zeros(len(queries), classes)
        votes.scatter_add_(1, labels[nearest], (similarity / temperature).exp())
        correct.append(votes.argmax(1) == truth)
    return torch.cat(correct)
