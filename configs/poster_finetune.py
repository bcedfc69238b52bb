"""The poster's fine-tuning: a ViT-B classifier, patch 48, on labelled radiographs of any size.

    radmae index /data/radiographs MANIFEST.parquet --labels LABELS.csv
    radmae finetune --config configs/poster_finetune.py:task=arc --config.data.manifest=MANIFEST.parquet \\
      --workdir runs/arc

Variants choose the manifest's label column: `task=arc` anatomical region (`region`), `task=fmd` foreign material
(`foreign_material`), `task=frac` fracture (`fracture`). LABELS.csv has a `path` column and these; `radmae phantom`
writes one.

Hyper-parameters: Bühler and Hager, Large-Scale Radiograph Pre-training (64 images a step, AdamW 3e-5, no decay, 100
epochs, head on the class token, no pixels lost: lengths are fitted to the archive). Chosen here: one epoch of warm-up,
then a constant rate; betas 0.9 and 0.999; groups of 8, so that a step mixes eight of any bucket. Left out of the
poster's: augmentation and early stopping; the checkpoint of the best validation balanced accuracy is kept.

Cost: 89,975,042 parameters for two classes; 9.8e11 training FLOPs for an image of 1,441 tokens, the poster's mean;
`radmae plan` counts an archive's. Last result: not trained here.
"""

import ml_collections

from radmae_jax.config import Bins, Config, Model, Optim, Task, Train, editable

_LABELS = {"task=arc": "region", "task=fmd": "foreign_material", "task=frac": "fracture"}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; variant "task=arc", "task=fmd" or "task=frac"."""
    if variant not in _LABELS:
        raise ValueError(f"variant {variant!r}; poster_finetune has {', '.join(_LABELS)}")
    return editable(
        Config(
            bins=Bins(shapes=16, group=8),
            model=Model(variant="B", patch=48, channels=1, table_side=64, pool="class", remat=True),
            task=Task(kind="classify", label=_LABELS[variant]),
            optim=Optim(learning_rate=3e-5, end_learning_rate=3e-5, warmup_epochs=1.0, b2=0.999, weight_decay=0.0),
            train=Train(
                epochs=100,
                images_per_step=64,
                checkpoint_every=200,
                evaluate_every=200,
                evaluate_images=100_000,  # all of validation: the best checkpoint is chosen by it
                panels_every=0,
            ),
        )
    )
