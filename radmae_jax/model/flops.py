"""Token counts to floating-point operations of a ViT-MAE or a ViT classifier, by arithmetic: numpy only.

A layer of width d on N tokens costs 24 N d^2 + 4 N^2 d (projections and MLP, then attention); a multiply-add is two.
The encoder sees the visible tokens and the class token, the decoder all tokens and the class token; the patch
embedding runs on visible patches only. A classifier embeds all patches and encodes them and the class token. Training
is three times the forward pass. XLA's own count is not used: it counts the body of a layer loop once and Pallas kernels
hardly at all.
"""

import numpy as np

from radmae_jax.config import Model
from radmae_jax.model.size import Size, decoder_size, encoder_size

TRAINING_FACTOR = 3


def stack_flops(tokens: np.ndarray | int, size: Size) -> np.ndarray:
    """Forward FLOPs of a stack of blocks on sequences of `tokens` (class token counted by the caller)."""
    n, d = np.asarray(tokens, np.float64), float(size.width)
    return size.layers * (24 * n * d * d + 4 * n * n * d)


def forward_flops(tokens: np.ndarray | int, config: Model) -> np.ndarray:
    """Forward FLOPs of the MAE for images of `tokens` tokens, float64 of the same shape."""
    encoder, decoder = encoder_size(config), decoder_size(config)
    n = np.asarray(tokens, np.float64)
    visible = np.maximum(np.floor(n * (1 - config.mask_ratio)), 1)  # the program has room for one at least
    values = config.patch * config.patch * config.channels
    embed = 2 * visible * values * encoder.width
    bridge = 2 * (visible + 1) * encoder.width * decoder.width
    predict = 2 * (n + 1) * decoder.width * values
    return embed + stack_flops(visible + 1, encoder) + bridge + stack_flops(n + 1, decoder) + predict


def classifier_flops(tokens: np.ndarray | int, config: Model, classes: int) -> np.ndarray:
    """Forward FLOPs of a classifier for images of `tokens` tokens, float64 of the same shape."""
    encoder = encoder_size(config)
    n = np.asarray(tokens, np.float64)
    embed = 2 * n * (config.patch * config.patch * config.channels) * encoder.width
    return embed + stack_flops(n + 1, encoder) + 2 * encoder.width * classes


def training_flops(tokens: np.ndarray | int, config: Model) -> np.ndarray:
    """FLOPs of the MAE's forward and backward passes."""
    return TRAINING_FACTOR * forward_flops(tokens, config)
