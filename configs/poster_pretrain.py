"""The poster's pre-training: ViT-MAE Base, patch 48, on radiographs up to 3,072 x 3,072.

    radmae plan poster --config configs/poster_pretrain.py
    radmae pretrain --config configs/poster_pretrain.py --config.data.manifest=MANIFEST.parquet --workdir runs/poster

Hyper-parameters: Bühler and Hager, Large-Scale Radiograph Pre-training (AdamW 1e-4, betas 0.9 and 0.95, decay 0.05,
1,024 images a step, 10 epochs, 5 of warm-up, cosine to 1e-5, mask 0.75, 1 channel, position table 64 x 64). The bucket
table is the optimum of 16 lengths for the poster's 639,877 sizes, and the loss is that of hidden patches inside the
image. Variant `:replica` does what the poster's code did: its 36 bins with padding as part of the image, mean squared
error over all pixels, its intensities, bicubic positions with Hugging Face's one-dimensional resize in the decoder,
Hugging Face's initialiser and LayerNorm epsilon, decay of every parameter.

Cost: 118,867,456 parameters; 10 epochs over 639,877 images are 3.9e18 training FLOPs with 16 lengths (`radmae plan`).
Last result: planned and two optimizer steps run on CPU (README, "What has been measured"); not trained in full here.
"""

import ml_collections

from radmae_jax.config import Bins, Config, Data, Loss, Model, Optim, Train, editable

# `radmae bench savings --sizes poster` finds these: 105.9 % of the tokens.
TOKENS_16 = (380, 561, 704, 864, 1015, 1161, 1334, 1488, 1683, 1900, 2080, 2280, 2560, 2916, 3392, 4096)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The configuration; variant "" or "replica"."""
    if variant not in ("", "replica"):
        raise ValueError(f"variant {variant!r}; poster_pretrain has '' and 'replica'")
    replica = variant == "replica"
    return editable(
        Config(
            data=Data(intensity="poster" if replica else "voi"),
            bins=Bins(policy="dbb", pad_tokens="poster") if replica else Bins(lengths=TOKENS_16),
            model=Model(
                variant="B",
                patch=48,
                channels=1,
                table_side=64,
                mask_ratio=0.75,
                resample="bicubic" if replica else "bilinear",
                decoder_positions="hf_flat" if replica else "2d",
                norm_eps=1e-12 if replica else 1e-6,
                init="hf" if replica else "mae",
                remat=True,
            ),
            loss=Loss(kind="poster" if replica else "masked_valid"),
            optim=Optim(
                learning_rate=1e-4, end_learning_rate=1e-5, warmup_epochs=5.0, weight_decay=0.05, decay_all=replica
            ),
            # 4 images of 3,072 x 3,072 a device: 3 GiB of a v5e's 16, `radmae compile poster --topology v5e:4x4`.
            train=Train(epochs=10, images_per_step=1024, tokens_per_device=16384),
        )
    )
