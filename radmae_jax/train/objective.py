"""What a training run must know of the model that it trains, as functions and plain facts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from radmae_jax.data.batch import Batch

Figures = dict[str, float]  # by name, of one evaluation


@dataclass(frozen=True)
class Objective:
    """A model, its loss and its evaluation; the loop, the programs and checkpoints know no more of it.

    Functions of (params, tables, batch) are compiled, one program a bucket. They give sums over the batch's images of
    weight, never means: sums of any batches add up to those of one large one.
    """

    init: Callable[[jax.Array], dict[str, Any]]  # key -> {"params": ...}, and "tables" where a model has constants
    loss: Callable[[Any, Any, Batch], tuple[jax.Array, jax.Array]]  # numerator and denominator, float32 scalars
    evaluate: Callable[[Any, Any, Batch], Any]  # a tree of arrays to be added up over batches
    summarise: Callable[[Any], Figures]  # that tree, summed, on the host
    describe: Callable[[Figures], str]  # figures in words
    deciding: str  # the figure that decides which checkpoint is the best
    larger_is_better: bool
    forward_flops: Callable[[int], float]  # of one image of so many tokens
    labels: int = 0  # T of a batch's labels
    # Panels: prediction float32 [B, L, P*P*C] from 0 to 1 and hidden tokens bool [B, L]; None: nothing to draw.
    predict: Callable[[Any, Any, Batch], tuple[jax.Array, jax.Array]] | None = None

    def goodness(self, figures: Figures) -> float:
        """The deciding figure, negated where less is better."""
        return figures[self.deciding] if self.larger_is_better else -figures[self.deciding]
