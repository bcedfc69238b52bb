"""A configuration and an opened archive to what must not change while a run goes on."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

import jax
import numpy as np

from radmae_jax import __version__
from radmae_jax.config import Config, Model
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.optimum import Edges
from radmae_jax.data.schedule import VERSION
from radmae_jax.plain import to_dict
from radmae_jax.train.origin import Origin

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
NOT_COMPARED = ("images", "training_images", "origin_step", "origin_position", "origin_state")  # fields of Premises
_COMPUTED_BY = ("dtype", "attention", "remat", "remat_keeps", "unroll")  # how the model is computed, not what it is
_OF_A_HOST = {
    ("data", name) for name in ("manifest", "split", "root", "workers", "threads", "prefetch_mib", "cache_mib")
} | {("train", "start"), ("train", "continue_from")}


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
    # What follows is stored for runs that continue others, and not compared: counts, 0 where they are not known, and
    # where a run that continues another begins, see `Origin`.
    images: int = field(default=0, kw_only=True)  # of the manifest
    training_images: int = field(default=0, kw_only=True)  # that take part
    origin_step: int = field(default=0, kw_only=True)
    origin_position: int = field(default=0, kw_only=True)
    origin_state: str = field(default="", kw_only=True)


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
        model=_of_model(to_dict(config.model)),
        loss=to_dict(config.loss),
        task=config.task.kind,
        labels=config.task.labels,
        classes=dataset.classes,
        budget=config.task.budget,
        budget_seed=config.task.budget_seed,
        train_images=config.data.train_images,
        codes=hashlib.sha256(codes.tobytes()).hexdigest() if codes.size else "",
        averaged=config.optim.ema > 0,
        images=len(dataset.manifest),
        training_images=len(dataset.records("train")),
    )


def with_origin(premises: Premises, origin: Origin) -> Premises:
    """The premises of a run that begins there."""
    return replace(premises, origin_step=origin.step, origin_position=origin.position, origin_state=origin.state)


def origin_of(stored: dict[str, Any]) -> Origin:
    """Where the run of stored premises began."""
    return Origin(stored["origin_step"], stored["origin_position"], stored["origin_state"])


def plain(premises: Premises) -> dict[str, Any]:
    """Premises as a checkpoint's JSON has them."""
    return json.loads(json.dumps(asdict(premises)))


def completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Stored premises, with the defaults of all fields and settings of the model that are newer than the checkpoint."""
    defaults = {f.name: f.default for f in fields(Premises) if f.default is not MISSING}
    return json.loads(json.dumps(defaults)) | stored | {"model": _of_model(to_dict(Model())) | stored["model"]}


def _of_model(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _COMPUTED_BY}


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
