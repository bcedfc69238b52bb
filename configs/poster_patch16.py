"""The poster's pre-training with patches of 16 pixels instead of 48: nine times the tokens, up to 36,864 an image.

    radmae compile poster --config configs/poster_patch16.py --topology v5e:4x4
    radmae pretrain --config configs/poster_patch16.py --config.data.manifest=MANIFEST.parquet --workdir runs/patch16

Everything but patch, position table (192 x 192), lengths, groups and rematerialisation is that of poster_pretrain.
Groups of 16 images are a row a chip of a v5e:4x4 at every length; slices of more chips need as many images a group.

Cost: `radmae compile` says what a topology needs and at least takes. Last result: compiled, never trained.
"""

import ml_collections

from radmae_jax.config import Bins, Config, Model, Optim, Train, editable

# The optimum of 6 lengths for the poster's sizes, 119.0 % of their tokens; `radmae plan poster --config
# configs/poster_patch16.py --config.bins.lengths="()" --config.bins.shapes=6` finds them.
TOKENS_6 = (6970, 11562, 16800, 21625, 30369, 36864)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; it has no variants."""
    if variant:
        raise ValueError(f"variant {variant!r}; poster_patch16 has none")
    return editable(
        Config(
            bins=Bins(lengths=TOKENS_6, group=16),
            model=Model(variant="B", patch=16, channels=1, table_side=192, mask_ratio=0.75, remat=True),
            optim=Optim(learning_rate=1e-4, end_learning_rate=1e-5, warmup_epochs=5.0, weight_decay=0.05),
            train=Train(epochs=10, images_per_step=1024, tokens_per_device=36864),
        )
    )
