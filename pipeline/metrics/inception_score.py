"""Inception score: how sure a classifier is of each image, and how many classes it sees in all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.distances import BLOCK_ROWS, Array, check_features


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation over the splits. Between 1 and the number of classes."""

    mean: float
    std: float


def inception_score(logits: Array, *, num_splits: int = 10, seed: int = 2020) -> InceptionScore:
    """exp(mean KL(p(y|x) | p(y))) of each split of the shuffled images: the same splits as torch-fidelity's.

    logits [N, K]: the classifier's scores before the softmax. num_splits is lowered to N where N is smaller; then each
    score is 1. UserError: a logit is not finite, or there is no image.
    Source: Salimans et al. 2016, section 4, arXiv:1606.03498.
    """
    check_features({"fake": logits}, least=1)
    num = len(logits)
    num_splits = min(num_splits, num)
    order = np.random.RandomState(seed).permutation(num)  # the legacy generator: torch-fidelity's choice
    scores = [
        _score(logits, order[split * num // num_splits : (split + 1) * num // num_splits])
        for split in range(num_splits)
    ]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(logits: Array, rows: NDArray[np.integer]) -> float:
    """Return exp(entropy of the mean prediction - mean entropy of the predictions) of some rows, in float64."""
    marginal = np.zeros(logits.shape[1])
    negative_entropy = 0.0
    for start in range(0, len(rows), BLOCK_ROWS):
        block = logits[rows[start : start + BLOCK_ROWS]].astype(np.float64)
        block -= block.max(axis=1, keepdims=True)
        log_probabilities = block - np.log(np.exp(block).sum(axis=1, keepdims=True))
        probabilities = np.exp(log_probabilities)
        marginal += probabilities.sum(axis=0) / len(rows)
        negative_entropy += float((probabilities * log_probabilities).sum()) / len(rows)
    seen = marginal[marginal > 0]  # a probability can be rounded to 0, and 0 log 0 = 0
    return float(np.exp(max(negative_entropy - float((seen * np.log(seen)).sum()), 0.0)))
