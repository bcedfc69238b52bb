"""A study on phantoms at a tenth of the poster's sizes: does masked pre-training help where labels are few?

    radmae phantom phantoms/dicom --images 4000 --seed 11 --scale 0.1
    radmae index phantoms/dicom phantoms/manifest.parquet --labels phantoms/dicom/labels.csv
    radmae split phantoms/manifest.parquet --fractions 0.78 0.10 0.12
    radmae pretrain --config configs/phantom_study.py --config.data.manifest=phantoms/manifest.parquet \\
      --workdir runs/phantom_mae
    radmae study configs/phantom_study.py --manifest phantoms/manifest.parquet --mae runs/phantom_mae \\
      --workdir runs/phantom_study --side test
    radmae report runs/phantom_study

`get_config` is the pre-training, `get_study` what is compared: three tasks, 50 and 200 labels, 3 seeds, 4 learning
rates for each arm. Encoder: 6 layers of 96, patch 16, at most 100 tokens an image, 3 lengths. Variant `:tiny` of both
has a ViT-Ti instead (5.3 million parameters) and half the steps.

Cost and last result: see the README, "What pre-training gained".
"""

from dataclasses import replace

import ml_collections

from radmae_jax.config import Augment, Bins, Config, Data, Model, Optim, Task, Train, editable
from radmae_jax.study.plan import Arm, Given, Study

_SMALL = Model(
    variant="custom",
    width=96,
    layers=6,
    heads=4,
    decoder_width=64,
    decoder_layers=2,
    decoder_heads=4,
    patch=16,
    table_side=10,
    pool="mean",
    dtype="float32",
)
_MODELS = {
    "": _SMALL,
    "tiny": replace(_SMALL, variant="Ti", width=0, layers=0, heads=0, decoder_width=128),
}
# Six of ten images have more than 100 patches of 16 pixels and are made smaller. Patches of 32 pixels at full size, at
# most 100 too, were tried first: with a median of 9 visible ones the autoencoder learned little (a linear probe named
# 52 % of the regions, and the smaller patches gave 58 % by fine-tuning on 200 labels).
_BINS = Bins(lengths=(49, 81, 100), group=64, beyond="downscale")
_TASKS = (("arc", "region"), ("fmd", "foreign_material"), ("frac", "fracture"))


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The pre-training; variant "" or "tiny"."""
    return editable(
        Config(
            data=Data(workers=0, threads=2, cache_mib=2048),
            bins=_BINS,
            model=_model(variant),
            optim=Optim(learning_rate=1.5e-3, end_learning_rate=1e-5, warmup_epochs=5.0),
            train=Train(
                epochs=50 if variant else 100,
                images_per_step=128,
                tokens_per_device=4096,
                checkpoint_every=300,
                keep_every=600,
                evaluate_every=300,
                panels_every=600,
            ),
        )
    )


def get_study(given: Given) -> Study:
    """Arms that begin with nothing and with the pre-training run; all else is the same."""
    base = Config(
        data=Data(manifest=given.manifest, workers=0, threads=2, cache_mib=2048),
        bins=replace(_BINS, group=8),
        model=_model(given.variant),
        task=Task(kind="classify", labels=("region",), smoothing=0.1),
        augment=Augment(crop=0.9, rotate=5.0, gamma=0.2),
        optim=Optim(
            learning_rate=1e-3,
            end_learning_rate=0.0,
            warmup_epochs=3.0,
            b2=0.999,
            layer_decay=0.85,
        ),
        train=Train(
            epochs=30,
            images_per_step=16,
            tokens_per_device=1024,
            checkpoint_every=0,
            keep_checkpoints=1,
            evaluate_every=-10,
            evaluate_images=100_000,
            panels_every=0,
        ),
    )
    arms = [Arm("random", "random", "", base, True, "begins with random weights")]
    if given.mae:
        arms.append(Arm("mae", "mae", given.mae, base, True, "begins with a masked autoencoder of the same archive"))
    if given.imagenet:
        arms.append(Arm("imagenet", "imagenet", given.imagenet, base, True, "begins with a file of ImageNet weights"))
    return Study(
        "phantoms",
        _TASKS,
        tuple(arms),
        budgets=(50, 200),
        seeds=3,
        learning_rates=(3e-4, 1e-3, 3e-3, 1e-2),
        curve_tasks=("arc", "fmd"),
        fewer=given.fewer,
    )


def _model(variant: str) -> Model:
    if variant not in _MODELS:
        raise ValueError(f"variant {variant!r}; phantom_study has '' and 'tiny'")
    return _MODELS[variant]
