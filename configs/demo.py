"""A small ViT-MAE on phantoms at a tenth of the poster's sizes: what `radmae demo` trains.

    radmae demo --workdir runs/demo

Cost: about five minutes on two CPU cores, most of it training. Patch 16, 12 to 400 tokens an image.
"""

import ml_collections

from radmae_jax.config import Bins, Config, Data, Model, Optim, Train, editable


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; there are no variants."""
    if variant:
        raise ValueError(f"variant {variant!r}; demo has none")
    return editable(
        Config(
            data=Data(workers=0, threads=2),
            bins=Bins(shapes=6, group=16),
            model=Model(
                variant="custom",
                width=192,
                layers=6,
                heads=6,
                decoder_width=128,
                decoder_layers=2,
                decoder_heads=4,
                patch=16,
                table_side=20,
                dtype="float32",
            ),
            optim=Optim(learning_rate=1e-3, end_learning_rate=1e-5, warmup_epochs=2.0),
            train=Train(
                epochs=12,
                images_per_step=64,
                tokens_per_device=4096,
                checkpoint_every=100,
                evaluate_every=50,
                panels_every=50,
            ),
        )
    )
