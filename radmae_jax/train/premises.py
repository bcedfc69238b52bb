"""A configuration and an opened archive to what must not change while a run goes on."""

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import numpy as np

from radmae_jax import __version__
from radmae_jax.config import Config
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.optimum import Edges
from radmae_jax.data.schedule import VERSION
from radmae_jax.plain import to_dict

# Where a premise is not a setting by its own name: what is to be set, or was changed.
SETTINGS = {
    "labels": "config.task.labels",
    "classes": "config.task.classes, or the classes of the training images",
    "budget": "config.task.budget",
    "budget_seed": "config.task.budget_seed",
    "train_images": "config.data.train_images",
    "codes": "the labels of the manifest's images",
    "averaged": "config.optim.ema, above 0 or not",
}
_COMPUTED_BY = ("dtype", "attention", "remat", "remat_keeps", "unroll")  # how the model is computed, not what it is
_OF_A_HOST = {
    ("data", name) for name in ("manifest", "split", "root", "workers", "threads", "prefetch_mib", "cache_mib")
} | {("train", "start")}


@dataclass(frozen=True)
class Premises:
    """Stored in every checkpoint; a difference refuses to resume, by the field's name. All else may change."""

    # First, since what follows may differ because of them; the defaults are what runs before they were stored had.
    task: str = field(default="reconstruct", kw_only=True)
    labels: tuple[str, ...] = field(default=(), kw_only=True)
    classes: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)
    budget: int = field(default=0, kw_only=True)
    budget_seed: int = field(default=0, kw_only=True)
    train_images: int = field(default=0, kw_only=True)
    # Hash of every record's classes, a label budget taken into account; the manifest's does not cover them.
    codes: str = field(default="", kw_only=True)
    averaged: bool = field(default=False, kw_only=True)  # whether a running mean of the parameters is kept
    schedule_version: int
    seed: int
    manifest: str  # hash
    split: str  # hash
    policy: str
    pad_tokens: str
    beyond: str
    edges: Edges
    patch: int
    lengths: tuple[int, ...]
    group: int
    images_per_step: int
    steps_per_epoch: int
    epochs: int
    dtype: str  # of the pixels
    intensity: str
    model: dict[str, Any]
    loss: dict[str, Any]


def premises_of(config: Config, dataset: Dataset, steps_per_epoch: int) -> Premises:
    """The premises of a run."""
    codes = np.ascontiguousarray(dataset.labels, "<i4")
    return Premises(
        schedule_version=VERSION,
        seed=config.train.seed,
        manifest=dataset.manifest.hash,
        split=dataset.split.hash,
        policy=dataset.table.policy,
        pad_tokens=dataset.table.pad_tokens,
        beyond=dataset.table.beyond,
        edges=dataset.table.edges,
        patch=dataset.table.patch,
        lengths=dataset.table.lengths,
        group=config.bins.group,
        images_per_step=config.train.images_per_step,
        steps_per_epoch=steps_per_epoch,
        epochs=config.train.epochs,
        dtype=config.data.dtype,
        intensity=config.data.intensity,
        model={name: value for name, value in to_dict(config.model).items() if name not in _COMPUTED_BY},
        loss=to_dict(config.loss),
        task=config.task.kind,
        labels=config.task.labels,
        classes=dataset.classes,
        budget=config.task.budget,
        budget_seed=config.task.budget_seed,
        train_images=config.data.train_images,
        codes=hashlib.sha256(codes.tobytes()).hexdigest() if codes.size else "",
        averaged=config.optim.ema > 0,
    )


def common(config: Config, premises: Premises) -> dict[str, Any]:
    """What every process of a run must have alike, by name: premises, and all settings but those that say where a
    process finds the data and how it reads them."""
    settings = {
        f"config.{section}.{name}": value
        for section, fields in to_dict(config).items()
        for name, value in fields.items()
        if (section, name) not in _OF_A_HOST
    }
    return asdict(premises) | settings | {"radmae_jax": __version__, "jax": jax.__version__}
