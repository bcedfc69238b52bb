"""The schema: what a run is made of, as frozen dataclasses with their defaults."""

import dataclasses
from dataclasses import dataclass, field

import ml_collections


@dataclass(frozen=True)
class Data:
    """Where the pixels come from and how they become numbers."""

    manifest: str = ""  # Parquet written by `radmae index`
    root: str = ""  # folder the manifest's paths are relative to; empty: the one it was indexed from
    split: str = ""  # Parquet written by `radmae split`; empty: MANIFEST.split.parquet, made if missing
    intensity: str = "voi"  # voi | percentile | full_range | poster
    # Files whose pixels are not square (the manifest's pixel_aspect): square: they are read resampled to square pixels,
    # whose sides the manifest has | refuse: a run over them does not start
    pixel_aspect: str = "square"
    dtype: str = "uint16"  # dtype of a batch's pixels: uint16 | uint8 (8 bit is a lossy choice)
    workers: int = 2  # loader processes; 0 decodes in the training process
    threads: int = 4  # decoding threads a loader process
    # Aimed at for decoded pixels waiting, all loader processes together; one batch a thread is always read.
    prefetch_mib: int = 512
    cache_mib: int = 0  # decoded images that each process keeps for the next epochs; 0: none
    max_unreadable: float = 0.01  # share of an epoch's images that may fail to read before the run stops
    # At most so many training images, of whole patients in an order that does not depend on the run's seed, so that a
    # smaller number is part of a larger one; 0: all
    train_images: int = 0


@dataclass(frozen=True)
class Augment:
    """How training images of a classifier are changed before padding, anew each epoch; all off by default."""

    crop: float = 1.0  # smallest share of each side that a random crop keeps (poster: 0.9)
    rotate: float = 0.0  # largest angle, degrees
    zoom: float = 0.0  # largest relative change of size about the centre, the canvas kept
    shift: float = 0.0  # largest shift, share of a side
    gamma: float = 0.0  # grey values from 0 to 1 to the power exp(u), u between -gamma and gamma
    noise: float = 0.0  # largest standard deviation of added Gaussian noise, share of full range
    blur: float = 0.0  # largest standard deviation of a Gaussian blur, pixels
    flip: bool = False  # mirror left and right, every second image; off where laterality matters


@dataclass(frozen=True)
class Bins:
    """The bucket table and how images are grouped."""

    policy: str = "tokens"  # tokens | dbb | fixed | exact
    shapes: int = 16  # K: at most so many lengths of a fitted `tokens` table, bins of a fitted `dbb` grid
    lengths: tuple[int, ...] = ()  # the table itself; empty: the optimum for the training images' sizes
    quantum: int = 1  # fitted lengths are multiples of it (tokens)
    # dbb: bins a side in pixels, here the poster's; empty: the best found for `shapes` bins, each side its own
    edges: tuple[int, ...] = (1152, 1536, 1920, 2304, 2688, 3072)
    width_edges: tuple[int, ...] = ()  # dbb: bins of the width, where `edges` are of the height; empty: as `edges`
    max_side: int = 3072  # fixed: every image is padded to this square, pixels
    pad_tokens: str = "masked"  # masked: padding is invisible | poster: padding is part of the image
    group: int = 64  # G: images of one bucket dealt together
    # Images beyond the largest bucket: refuse: the run does not start | downscale: to fit | extra: one more length, or
    # bin a side, as large as the largest
    beyond: str = "refuse"


@dataclass(frozen=True)
class Model:
    """A ViT-MAE (He et al. 2022) or ViT classifier (Dosovitskiy et al. 2021), whose encoders are the same."""

    variant: str = "B"  # Ti | S | B | L | H, or "custom" with the three fields below
    width: int = 0
    layers: int = 0
    heads: int = 0
    decoder_width: int = 512
    decoder_layers: int = 8
    decoder_heads: int = 16
    patch: int = 48  # pixels a side of a patch
    channels: int = 1
    table_side: int = 64  # position tables are side x side (poster: 3072 / 48)
    mask_ratio: float = 0.75
    resample: str = "bilinear"  # position tables at an image's grid: bilinear | bicubic (Hugging Face)
    decoder_positions: str = "2d"  # 2d | hf_flat (Hugging Face's one-dimensional resize)
    norm_eps: float = 1e-6  # LayerNorm; Hugging Face's configuration has 1e-12
    gelu: str = "exact"  # exact (erf: PyTorch's) | tanh (its approximation: the original ImageNet-21k ViTs)
    pool: str = "class"  # classifiers: class token, then nothing | mean of an image's own tokens, then LayerNorm
    init: str = "mae"  # mae: xavier-uniform (MAE appendix A.1) | hf: N(0, 0.02)
    dtype: str = "bfloat16"  # compute: bfloat16 | float32; parameters, softmax and losses are float32
    attention: str = "auto"  # auto | dense | chunked | splash (TPU) | cudnn (GPU); auto: by device and dtype
    remat: bool = False  # recompute a block's activations in the backward pass
    # remat: what is kept all the same: nothing | attention: outputs of chunked and splash, so that only projections and
    # MLP are computed again (a row and layer keep tokens * width more values) | products: matrix products' outputs
    remat_keeps: str = "nothing"
    unroll: bool = False  # unroll the layers instead of a loop (slow to compile; XLA counts FLOPs right)


@dataclass(frozen=True)
class Task:
    """What the model is trained to do."""

    kind: str = "reconstruct"  # reconstruct: hidden patches, a ViT-MAE | classify: labels, a ViT classifier
    # classify: the manifest's columns to predict, each by a head of its own. Every known value counts alike: an image
    # without a value of one counts for the others, one without any takes no part
    labels: tuple[str, ...] = ()
    # classify: of each label, its values in the order of the outputs; empty: those of the training records, sorted
    classes: tuple[tuple[str, ...], ...] = ()
    # classify: so many training records of each label, dealt evenly over its classes, a smaller number being part of a
    # larger one; 0: all that are known
    budget: int = 0
    budget_seed: int = 0  # which ones
    balance: bool = False  # classify: images weigh as the inverse of their class's frequency among the training records
    smoothing: float = 0.0  # classify: share of the target spread over all classes (label smoothing)
    drop_path: float = 0.0  # classify: rate at which the last block's branches are dropped, rising linearly from 0


@dataclass(frozen=True)
class Loss:
    """What the reconstruction is scored by."""

    kind: str = "masked_valid"  # masked_valid: masked patches, valid pixels | poster: every pixel of the grid
    weighting: str = "pixel"  # pixel: every pixel of a step counts alike | image: every image counts alike
    norm_pix: bool = False  # targets normalised per patch over its valid pixels (MAE section 4)
    variance_floor: float = 1e-4  # norm_pix: smallest variance divided by, in units of full range squared


@dataclass(frozen=True)
class Optim:
    """AdamW with linear warm-up, then cosine decay or a constant rate and linear decay."""

    learning_rate: float = 1e-4
    end_learning_rate: float = 1e-5
    warmup_epochs: float = 5.0
    # After warm-up: cosine: to end_learning_rate over all remaining epochs | warmup_stable_decay: constant, then linear
    # to end_learning_rate over the last decay_epochs; until then the rates do not depend on train.epochs
    schedule: str = "cosine"
    decay_epochs: float = 0.0  # warmup_stable_decay: may be a fraction; 0: the rate stays constant to the end
    b1: float = 0.9
    b2: float = 0.95
    weight_decay: float = 0.05
    decay_all: bool = False  # also decay biases, norms and tokens, as the poster's run does
    clip_norm: float = 0.0  # 0: no clipping
    # Learning rate of a layer relative to that of the next one, the head's being 1 (BEiT; MAE appendix A.1: 0.75)
    layer_decay: float = 1.0
    ema: float = 0.0  # decay a step of a running mean of the parameters, which is then evaluated and used; 0: none


@dataclass(frozen=True)
class Train:
    """How long, how often, on what mesh."""

    epochs: int = 10  # in all; those of runs that are continued count
    # Stop after so many optimizer steps, those of runs that are continued counted; 0: epochs decide. Schedules still
    # span epochs
    max_steps: int = 0
    images_per_step: int = 1024
    seed: int = 0
    # Weights that a fresh run begins with (`--init`): a run, an exported or Hugging Face directory, a .safetensors,
    # .npz or .pth file; empty: none
    start: str = ""
    # What they must be: "" anything or nothing | random: nothing | mae: a masked autoencoder | imagenet: an encoder or
    # classifier of another program
    arm: str = ""
    # Run whose complete state a fresh run takes over (`--continue-from`): a work directory, or one of its checkpoints,
    # RUN/checkpoints/STEP; empty: none
    continue_from: str = ""
    fsdp: int = 1  # devices that parameters are sharded over; the rest of the mesh is data
    rows: int = 0  # rows of every program; 0: the most that keep rows * length <= tokens_per_device
    # Bound on a program's tokens a device when rows is 0; 0: as many as its memory takes of the longest bucket, found
    # in at most 4 compilations
    tokens_per_device: int = 8192
    checkpoints: str = (
        ""  # where they go, a path or a gs:// or s3:// URL that all hosts see; empty: WORKDIR/checkpoints
    )
    checkpoint_every: int = 500  # 0: only at evaluations and at the end
    keep_checkpoints: int = 2  # newest ones kept, beside the best by validation
    keep_every: int = 0  # also kept: those of multiples of so many steps, a multiple of checkpoint_every; 0: none
    evaluate_every: int = 500  # steps; -n: every n epochs; 0: never
    patience: int = 0  # evaluations without a better one after which the run is over; 0: it never stops early
    evaluate_images: int = 512  # validation images, the first of a seeded order
    panels_every: int = 500  # pictures of reconstructions; 0: never
    panel_images: int = 4
    max_nonfinite_steps: int = 3  # steps not applied before the run stops
    profile_steps: int = 5  # steps traced under --profile


@dataclass(frozen=True)
class Config:
    """Everything a run depends on, except the data itself."""

    data: Data = field(default_factory=Data)
    bins: Bins = field(default_factory=Bins)
    model: Model = field(default_factory=Model)
    task: Task = field(default_factory=Task)
    augment: Augment = field(default_factory=Augment)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)


def editable(config: Config | None = None) -> ml_collections.ConfigDict:
    """The schema with its defaults as a ConfigDict, for config files to change and return."""
    return ml_collections.ConfigDict(dataclasses.asdict(config or Config()))
