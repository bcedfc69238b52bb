"""A configuration from a config file or config.json to one whose values were checked, each against its limits."""

import itertools
import json
from pathlib import Path

import ml_collections

from radmae_jax.config import Augment, Config, Loss
from radmae_jax.plain import from_dict

_CHOICES = {
    ("data", "intensity"): ("voi", "percentile", "full_range", "poster"),
    ("data", "pixel_aspect"): ("square", "refuse"),
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
    ("model", "attention"): ("auto", "dense", "chunked", "splash", "cudnn"),
    ("model", "remat_keeps"): ("nothing", "attention", "products"),
    ("task", "kind"): ("reconstruct", "classify"),
    ("train", "arm"): ("", "random", "mae", "imagenet"),
    ("optim", "schedule"): ("cosine", "warmup_stable_decay"),
    ("loss", "kind"): ("masked_valid", "poster"),
    ("loss", "weighting"): ("pixel", "image"),
}


def validate(config: Config) -> Config:
    """Checks values that no type can; raises ValueError naming the field, the value and the limit."""
    for (section, name), allowed in _CHOICES.items():
        value = getattr(getattr(config, section), name)
        if value not in allowed:
            raise ValueError(f"config.{section}.{name} is {value!r}; it must be one of {', '.join(allowed)}")
    model, bins, train, task, augment = config.model, config.bins, config.train, config.task, config.augment
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
        ("train.tokens_per_device", train.tokens_per_device, 0, 10**9),
        ("train.checkpoint_every", train.checkpoint_every, 0, 10**9),
        ("train.keep_checkpoints", train.keep_checkpoints, 1, 10**6),
        ("train.keep_every", train.keep_every, 0, 10**9),
        ("train.evaluate_every", train.evaluate_every, -(10**6), 10**9),
        ("train.patience", train.patience, 0, 10**6),
        ("train.evaluate_images", train.evaluate_images, 1, 10**9),
        ("train.panels_every", train.panels_every, 0, 10**9),
        ("train.panel_images", train.panel_images, 0, 64),
        ("train.max_nonfinite_steps", train.max_nonfinite_steps, 1, 10**9),
        ("train.profile_steps", train.profile_steps, 1, 10**6),
        ("data.workers", config.data.workers, 0, 512),
        ("data.cache_mib", config.data.cache_mib, 0, 10**7),
        ("data.max_unreadable", config.data.max_unreadable, 0.0, 1.0),
        ("data.train_images", config.data.train_images, 0, 10**9),
        ("optim.warmup_epochs", config.optim.warmup_epochs, 0.0, train.epochs),
        ("optim.decay_epochs", config.optim.decay_epochs, 0.0, train.epochs),
        ("optim.learning_rate", config.optim.learning_rate, 0.0, 1e38),
        ("optim.end_learning_rate", config.optim.end_learning_rate, 0.0, 1e38),
        ("optim.b1", config.optim.b1, 0.0, 0.999999),
        ("optim.b2", config.optim.b2, 0.0, 0.999999),
        ("optim.weight_decay", config.optim.weight_decay, 0.0, 1e38),
        ("optim.clip_norm", config.optim.clip_norm, 0.0, 1e9),
        ("optim.layer_decay", config.optim.layer_decay, 1e-3, 1.0),
        ("optim.ema", config.optim.ema, 0.0, 0.999999),
        ("task.budget", task.budget, 0, 10**9),
        ("task.budget_seed", task.budget_seed, 0, 2**31 - 1),
        ("task.smoothing", task.smoothing, 0.0, 0.9),
        ("task.drop_path", task.drop_path, 0.0, 0.9),
        ("augment.crop", augment.crop, 0.1, 1.0),
        ("augment.rotate", augment.rotate, 0.0, 180.0),
        ("augment.zoom", augment.zoom, 0.0, 0.9),
        ("augment.shift", augment.shift, 0.0, 0.9),
        ("augment.gamma", augment.gamma, 0.0, 5.0),
        ("augment.noise", augment.noise, 0.0, 1.0),
        ("augment.blur", augment.blur, 0.0, 100.0),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise ValueError(f"config.{name} is {value}; it must be from {low} to {high}")
    _check_task(config)
    _check_rates(config)
    if task.kind == "reconstruct" and config.loss.kind == "masked_valid" and model.mask_ratio == 0:
        raise ValueError(
            "config.model.mask_ratio is 0; with config.loss.kind 'masked_valid' nothing would be trained on"
        )
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


def _check_rates(config: Config) -> None:
    """The checks of the learning rate's schedule."""
    optim, epochs = config.optim, config.train.epochs
    if optim.decay_epochs and optim.schedule == "cosine":
        raise ValueError(
            f"config.optim.decay_epochs is {optim.decay_epochs}; config.optim.schedule 'cosine' decays over all epochs "
            "after warm-up: set it to 'warmup_stable_decay', or decay_epochs to 0"
        )
    if optim.warmup_epochs + optim.decay_epochs > epochs * (1 + 1e-9):  # fractions such as 0.1 + 0.2 are not exact
        raise ValueError(
            f"config.optim.warmup_epochs is {optim.warmup_epochs} and config.optim.decay_epochs is "
            f"{optim.decay_epochs}; together they must be at most config.train.epochs, {epochs}"
        )


def _check_task(config: Config) -> None:
    """The checks of what a classifier has and a masked autoencoder has not."""
    task, train = config.task, config.train
    if task.kind == "reconstruct":
        # What would silently do nothing is refused.
        for name in ("labels", "classes", "budget", "budget_seed", "balance", "smoothing", "drop_path"):
            if value := getattr(task, name):
                raise ValueError(f"config.task.{name} is {value!r}; it is for config.task.kind 'classify'")
        if config.optim.layer_decay != 1.0:
            raise ValueError(f"config.optim.layer_decay is {config.optim.layer_decay}; it is for classifiers")
        if config.augment != Augment():
            raise ValueError(f"config.augment is {config.augment}; images that are reconstructed are not augmented")
    else:
        if config.loss != Loss():
            raise ValueError(f"config.loss is {config.loss}; classifiers are trained by cross-entropy, leave it alone")
        if task.budget_seed and not task.budget:
            raise ValueError(f"config.task.budget_seed is {task.budget_seed} without config.task.budget")
        if not task.labels:
            raise ValueError("config.task.labels is (); with config.task.kind 'classify' it must name label columns")
        if len(set(task.labels)) < len(task.labels) or "" in task.labels:
            raise ValueError(f"config.task.labels is {task.labels}; none may be empty or named twice")
        if task.classes and len(task.classes) != len(task.labels):
            raise ValueError(f"config.task.classes is of {len(task.classes)} labels, config.task.labels {task.labels}")
        for label, classes in zip(task.labels, task.classes, strict=False):
            if len(classes) < 2 or len(set(classes)) < len(classes):
                raise ValueError(
                    f"config.task.classes of {label!r} is {classes}; there must be at least 2, and none twice"
                )
    if train.patience and not train.evaluate_every:
        raise ValueError(f"config.train.patience is {train.patience}; without train.evaluate_every nothing is judged")
    if train.keep_every and (not train.checkpoint_every or train.keep_every % train.checkpoint_every):
        raise ValueError(
            f"config.train.keep_every is {train.keep_every}; it must be a multiple of train.checkpoint_every, "
            f"{train.checkpoint_every}"
        )
    if train.start and train.continue_from:
        raise ValueError(
            f"config.train.start (--init) is {train.start!r} and config.train.continue_from (--continue-from) is "
            f"{train.continue_from!r}; a run begins with weights or continues a run: leave one of them empty"
        )
    if train.start and train.arm == "random":
        raise ValueError(f"config.train.start is {train.start!r}; config.train.arm 'random' begins with nothing")


def freeze(config: ml_collections.ConfigDict) -> Config:
    """A validated, frozen Config from what a config file returned."""
    return validate(from_dict(Config, config.to_dict()))


def read_json(path: Path) -> Config:
    """The Config a work directory was run with (its config.json)."""
    return validate(from_dict(Config, json.loads(path.read_text())))
