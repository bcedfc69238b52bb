"""A configuration to the widths and depths of encoder and decoder; plain numbers, no jax."""

from dataclasses import dataclass

from radmae_jax.config import Model

VARIANTS = {  # width, layers, heads: Dosovitskiy et al. 2021, table 1; Ti and S: Touvron et al. 2021, table 1
    "Ti": (192, 12, 3),
    "S": (384, 12, 6),
    "B": (768, 12, 12),
    "L": (1024, 24, 16),
    "H": (1280, 32, 16),
}


@dataclass(frozen=True)
class Size:
    """Width (features), layers and heads of a stack of blocks."""

    width: int
    layers: int
    heads: int

    def __post_init__(self):
        if min(self.width, self.layers, self.heads) < 1 or self.width % self.heads or self.width % 4:
            raise ValueError(f"{self}: all must be positive, and heads and 4 must divide the width")


def encoder_size(model: Model) -> Size:
    """The encoder a configuration describes: a named variant, or its own numbers under "custom"."""
    own = (model.width, model.layers, model.heads)
    if model.variant == "custom":
        return Size(*own)
    if own != (0, 0, 0):
        raise ValueError(f"config.model.variant is {model.variant!r}, with width, layers, heads {own}: say 'custom'")
    return Size(*VARIANTS[model.variant])


def decoder_size(model: Model) -> Size:
    """The decoder a configuration describes."""
    return Size(model.decoder_width, model.decoder_layers, model.decoder_heads)
