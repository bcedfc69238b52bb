"""The poster's fine-tuning: a ViT-B classifier on labelled radiographs of any size, three tasks and three beginnings.

    radmae index /data/radiographs MANIFEST.parquet --labels LABELS.csv
    radmae finetune --config configs/poster_finetune.py:task=arc,init=mae --init runs/first \\
      --config.data.manifest=MANIFEST.parquet --workdir runs/arc

`task=` chooses the manifest's label column: `arc` anatomical region (`region`), `fmd` foreign material
(`foreign_material`), `frac` fracture (`fracture`), `all` the three with a head each. LABELS.csv has a `path` column and
these; `radmae phantom` writes one. `init=` is what it begins with: `mae` a pre-training run, `imagenet` a file of
ImageNet-21k weights (ViT-B/16 as .npz, .safetensors, or a Hugging Face directory; both need --init), `random` nothing;
left out, anything. `arms=` says how arms compare: `matched` (default), all with patch 48, one channel and the same
rate, or `poster`, as the poster's were: its baselines with patch 16, three channels and three times the rate.

Hyper-parameters: Bühler and Hager, Large-Scale Radiograph Pre-training (64 images a step, AdamW 3e-5, its baselines
1e-4, no decay, 100 epochs, early stopping on validation balanced accuracy with patience 10, crops of 90 to 100 %,
affine, gamma, noise and blur, head on the class token). Its strengths of augmentation are not published: rotation,
zoom and gamma here are torchio's defaults, noise and blur weaker ones. Flips are off: left and right are findings.
Chosen here: one epoch of warm-up, then a constant rate; betas 0.9 and 0.999; groups of 8, so that a step mixes eight of
any bucket.

Cost: 89,975,042 parameters for two classes; 9.8e11 training FLOPs for an image of 1,441 tokens, the poster's mean;
`radmae plan` counts an archive's. Last result: not trained here.
"""

import ml_collections

from radmae_jax.config import Augment, Bins, Config, Data, Model, Optim, Task, Train, editable

_LABELS = {
    "arc": ("region",),
    "fmd": ("foreign_material",),
    "frac": ("fracture",),
    "all": ("region", "foreign_material", "fracture"),
}
_CHOICES = {"task": tuple(_LABELS), "init": ("", "mae", "imagenet", "random"), "arms": ("matched", "poster")}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; variant "task=arc|fmd|frac|all[,init=mae|imagenet|random][,arms=matched|poster]"."""
    chosen = {"init": "", "arms": "matched"}
    for part in variant.split(","):
        name, _, value = part.partition("=")
        if value not in _CHOICES.get(name, ()):
            has = ", ".join(f"{n}={'|'.join(filter(None, values))}" for n, values in _CHOICES.items())
            raise ValueError(f"variant {variant!r}: {part!r} is not known; poster_finetune has {has}")
        chosen[name] = value
    if "task" not in chosen:
        raise ValueError(f"variant {variant!r} names no task; poster_finetune has task={'|'.join(_LABELS)}")
    init = chosen["init"]
    baseline = chosen["arms"] == "poster" and init in ("imagenet", "random")
    rate = 1e-4 if baseline else 3e-5
    return editable(
        Config(
            data=Data(intensity="poster" if chosen["arms"] == "poster" else "voi"),
            bins=Bins(shapes=16, group=8),
            model=Model(
                variant="B",
                patch=16 if baseline else 48,
                channels=3 if baseline else 1,
                table_side=14 if baseline else 64,  # of 224 pixels, as the ImageNet weights'
                pool="class",
                remat=True,
            ),
            task=Task(kind="classify", labels=_LABELS[chosen["task"]]),
            augment=Augment(crop=0.9, rotate=10.0, zoom=0.1, gamma=0.3, noise=0.02, blur=1.0),
            optim=Optim(learning_rate=rate, end_learning_rate=rate, warmup_epochs=1.0, b2=0.999, weight_decay=0.0),
            train=Train(
                epochs=100,
                images_per_step=64,
                arm=init,
                checkpoint_every=0,
                evaluate_every=-1,
                evaluate_images=100_000,  # all of validation: the best checkpoint is chosen by it
                patience=10,
                panels_every=0,
            ),
        )
    )
