"""The schema: what a run is made of, as frozen dataclasses, read from a config file, flags or config.json."""

import dataclasses
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import ml_collections

from radmae_jax.plain import from_dict


@dataclass(frozen=True)
class Data:
    """Where the pixels come from and how they become numbers."""

    manifest: str = ""  # Parquet written by `radmae index`
    root: str = ""  # folder the manifest's paths are relative to; empty: the one it was indexed from
    split: str = ""  # Parquet written by `radmae split`; empty: MANIFEST.split.parquet, made if missing
    intensity: str = "voi"  # voi | percentile | full_range | poster
    dtype: str = "uint16"  # dtype of a batch's pixels: uint16 | uint8 (8 bit is a lossy choice)
    workers: int = 2  # loader processes; 0 decodes in the training process
    threads: int = 4  # decoding threads a loader process
    # Aimed at for decoded pixels waiting, all loader processes together; one batch a thread is always read.
    prefetch_mib: int = 512
    max_unreadable: float = 0.01  # share of an epoch's images that may fail to read before the run stops


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
    attention: str = "auto"  # auto | dense | chunked
    remat: bool = False  # recompute a block's activations in the backward pass
    unroll: bool = False  # unroll the layers instead of a loop (slow to compile; XLA counts FLOPs right)


@dataclass(frozen=True)
class Task:
    """What the model is trained to do."""

    kind: str = "reconstruct"  # reconstruct: hidden patches, a ViT-MAE | classify: a label, a ViT classifier
    label: str = ""  # classify: the manifest's column to predict; records without a value take no part
    # classify: its values in the order of the head's outputs; empty: those of the training records, sorted
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """What the reconstruction is scored by."""

    kind: str = "masked_valid"  # masked_valid: masked patches, valid pixels | poster: every pixel of the grid
    weighting: str = "pixel"  # pixel: every pixel of a step counts alike | image: every image counts alike
    norm_pix: bool = False  # targets normalised per patch over its valid pixels (MAE section 4)
    variance_floor: float = 1e-4  # norm_pix: smallest variance divided by, in units of full range squared


@dataclass(frozen=True)
class Optim:
    """AdamW with linear warm-up and cosine decay."""

    learning_rate: float = 1e-4
    end_learning_rate: float = 1e-5
    warmup_epochs: float = 5.0
    b1: float = 0.9
    b2: float = 0.95
    weight_decay: float = 0.05
    decay_all: bool = False  # also decay biases, norms and tokens, as the poster's run does
    clip_norm: float = 0.0  # 0: no clipping


@dataclass(frozen=True)
class Train:
    """How long, how often, on what mesh."""

    epochs: int = 10
    max_steps: int = 0  # stop after so many optimizer steps; 0: epochs decide. Schedules still span epochs
    images_per_step: int = 1024
    seed: int = 0
    # Weights that a fresh run begins with (`--init`): a run, an exported or Hugging Face directory, a .safetensors,
    # .npz or .pth file; empty: none
    start: str = ""
    fsdp: int = 1  # devices that parameters are sharded over; the rest of the mesh is data
    rows: int = 0  # rows of every program; 0: the most that keep rows * length <= tokens_per_device
    tokens_per_device: int = 8192  # bound on a program's tokens a device when rows is 0
    checkpoint_every: int = 500  # 0: only at evaluations and at the end
    keep_checkpoints: int = 2  # newest ones kept, beside the best by validation
    evaluate_every: int = 500  # 0: never
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
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)


_CHOICES = {
    ("data", "intensity"): ("voi", "percentile", "full_range", "poster"),
    ("data", "dtype"): ("uint16", "uint8"),
    ("bins", "policy"): ("tokens", "dbb", "fixed", "exact"),
    ("bins", "pad_tokens"): ("masked", "poster"),
    ("bins", "beyond"): ("refuse", "downscale", "extra"),
    ("model", "variant"): ("Ti", "S", "B", "L", "H", "custom"),
    ("model", "resample"): ("bilinear", "bicubic"),
    ("model", "decoder_positions"): ("2d", "hf_flat"),
    ("model", "gelu"): ("exact", "tanh"),
    ("model", "pool"): ("class", "mean"),
    ("model", "init"): ("mae", "hf"),
    ("model", "dtype"): ("bfloat16", "float32"),
    ("model", "attention"): ("auto", "dense", "chunked"),
    ("task", "kind"): ("reconstruct", "classify"),
    ("loss", "kind"): ("masked_valid", "poster"),
    ("loss", "weighting"): ("pixel", "image"),
}


def validate(config: Config) -> Config:
    """Checks values that no type can; raises ValueError naming the field, the value and the limit."""
    for (section, name), allowed in _CHOICES.items():
        value = getattr(getattr(config, section), name)
        if value not in allowed:
            raise ValueError(f"config.{section}.{name} is {value!r}; it must be one of {', '.join(allowed)}")
    model, bins, train = config.model, config.bins, config.train
    limits = (
        ("model.patch", model.patch, 8, 48),
        ("model.channels", model.channels, 1, 3),
        ("model.mask_ratio", model.mask_ratio, 0.0, 0.99),
        ("model.table_side", model.table_side, 1, 4096),
        ("model.norm_eps", model.norm_eps, 1e-15, 0.1),
        ("bins.shapes", bins.shapes, 1, 4096),
        ("bins.quantum", bins.quantum, 1, 4096),
        ("bins.group", bins.group, 1, 65536),
        ("train.epochs", train.epochs, 1, 10**6),
        ("train.images_per_step", train.images_per_step, 1, 10**7),
        ("train.fsdp", train.fsdp, 1, 10**6),
        ("train.seed", train.seed, 0, 2**31 - 1),
        ("train.max_steps", train.max_steps, 0, 10**9),
        ("train.rows", train.rows, 0, 65536),
        ("train.tokens_per_device", train.tokens_per_device, 1, 10**9),
        ("train.checkpoint_every", train.checkpoint_every, 0, 10**9),
        ("train.keep_checkpoints", train.keep_checkpoints, 1, 10**6),
        ("train.evaluate_every", train.evaluate_every, 0, 10**9),
        ("train.evaluate_images", train.evaluate_images, 1, 10**9),
        ("train.panels_every", train.panels_every, 0, 10**9),
        ("train.panel_images", train.panel_images, 0, 64),
        ("train.max_nonfinite_steps", train.max_nonfinite_steps, 1, 10**9),
        ("train.profile_steps", train.profile_steps, 1, 10**6),
        ("data.workers", config.data.workers, 0, 512),
        ("data.max_unreadable", config.data.max_unreadable, 0.0, 1.0),
        ("optim.warmup_epochs", config.optim.warmup_epochs, 0.0, train.epochs),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise ValueError(f"config.{name} is {value}; it must be from {low} to {high}")
    task = config.task
    if task.kind == "reconstruct" and config.loss.kind == "masked_valid" and model.mask_ratio == 0:
        raise ValueError(
            "config.model.mask_ratio is 0; with config.loss.kind 'masked_valid' nothing would be trained on"
        )
    if task.kind == "classify" and not task.label:
        raise ValueError("config.task.label is ''; with config.task.kind 'classify' it must name a label column")
    if task.classes and (len(task.classes) < 2 or len(set(task.classes)) < len(task.classes)):
        raise ValueError(f"config.task.classes is {task.classes}; there must be at least 2, and none twice")
    if model.channels == 2:
        raise ValueError("config.model.channels is 2; it must be 1 or 3")
    if bins.policy in ("tokens", "exact") and bins.pad_tokens == "poster":
        raise ValueError(
            f"config.bins.pad_tokens is 'poster'; policy {bins.policy!r} has no bins to fill: dbb or fixed"
        )
    for name, values in (("lengths", bins.lengths), ("edges", bins.edges), ("width_edges", bins.width_edges)):
        if any(b <= a for a, b in itertools.pairwise(values)) or any(n < 1 for n in values):
            raise ValueError(f"config.bins.{name} is {values}; {name} must be positive and ascending")
    if bins.pad_tokens == "poster" and bins.policy == "dbb" and not bins.edges:
        raise ValueError(
            "config.bins.edges is (); with pad_tokens 'poster' the bins are part of every image: name them"
        )
    if bins.pad_tokens == "poster" and bins.beyond == "extra":
        raise ValueError(
            "config.bins.beyond is 'extra'; with pad_tokens 'poster' a bin that depends on the archive's largest image "
            "would be part of the images: refuse or downscale"
        )
    if bins.width_edges and not bins.edges:
        raise ValueError(f"config.bins.width_edges is {bins.width_edges} without config.bins.edges")
    if bins.policy == "dbb":
        for edge in (*bins.edges, *bins.width_edges):
            if edge % model.patch:
                raise ValueError(f"config.bins.edges has {edge}; edges must be multiples of the patch, {model.patch}")
    if bins.policy == "fixed" and bins.max_side % model.patch:
        raise ValueError(f"config.bins.max_side is {bins.max_side}; it must be a multiple of patch {model.patch}")
    return config


def editable(config: Config | None = None) -> ml_collections.ConfigDict:
    """The schema with its defaults as a ConfigDict, for config files to change and return."""
    return ml_collections.ConfigDict(dataclasses.asdict(config or Config()))


def freeze(config: ml_collections.ConfigDict) -> Config:
    """A validated, frozen Config from what a config file returned."""
    return validate(from_dict(Config, config.to_dict()))


def read_json(path: Path) -> Config:
    """The Config a work directory was run with (its config.json)."""
    return validate(from_dict(Config, json.loads(path.read_text())))
