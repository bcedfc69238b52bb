"""A small ViT-MAE on phantoms at a tenth of the poster's sizes: what `radmae demo` trains.

    radmae demo --workdir runs/demo

Cost: five to eight minutes on two CPU cores, most of it training. Patch 16, 12 to 400 tokens an image.
Last result: validation loss 0.0274 after 560 steps; fine-tuned for 200, it names 12 % of the regions (chance 7 %):
enough to see every part at work, and no model. The settings are the best of four tried by hand (width, learning rate,
images a step and initialiser changed together, so none of them is credited on its own).
"""

import ml_collections

from radmae_jax.config import Bins, Config, Data, Model, Optim, Task, Train, editable

_DATA = Data(workers=0, threads=2, cache_mib=512)
_MODEL = Model(
    variant="custom",
    width=128,
    layers=4,
    heads=4,
    decoder_width=96,
    decoder_layers=2,
    decoder_heads=4,
    patch=16,
    table_side=20,
    init="hf",
    pool="mean",
    dtype="float32",
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; variant "" or "finetune"."""
    if variant not in ("", "finetune"):
        raise ValueError(f"variant {variant!r}; demo has '' and 'finetune'")
    if variant == "finetune":
        return editable(
            Config(
                data=_DATA,
                bins=Bins(shapes=4, group=8),
                model=_MODEL,
                task=Task(kind="classify", labels=("region", "foreign_material", "fracture"), balance=True),
                optim=Optim(
                    learning_rate=2e-3,
                    end_learning_rate=0.0,
                    warmup_epochs=1.0,
                    b2=0.999,
                    layer_decay=0.75,
                ),
                train=Train(
                    epochs=5,
                    images_per_step=16,
                    arm="mae",
                    tokens_per_device=4096,
                    checkpoint_every=0,
                    evaluate_every=-1,
                    panels_every=0,
                ),
            )
        )
    return editable(
        Config(
            data=_DATA,
            bins=Bins(shapes=4, group=8),
            model=_MODEL,
            optim=Optim(learning_rate=1.5e-3, end_learning_rate=1e-5, warmup_epochs=1.0),
            train=Train(
                epochs=14,
                images_per_step=16,
                tokens_per_device=4096,
                checkpoint_every=200,
                evaluate_every=100,
                panels_every=200,
            ),
        )
    )
