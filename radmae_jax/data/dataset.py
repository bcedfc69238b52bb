"""A configuration and a manifest to everything a run reads by: split, labels, bucket table, schedule, pixel source."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from radmae_jax.config import Config, Task
from radmae_jax.data.binning import BucketTable, make_table
from radmae_jax.data.loader import Source
from radmae_jax.data.manifest import Manifest, read_manifest
from radmae_jax.data.schedule import Schedule, training_schedule
from radmae_jax.data.sizes import sizes_named
from radmae_jax.data.splits import Split, first_patients, label_budget, make_split, read_split, write_split


@dataclass(frozen=True, eq=False)
class Archive:
    """An opened archive of N images; records are rows of the manifest."""

    manifest: Manifest
    split: Split
    classes: tuple[tuple[str, ...], ...]  # of each of the task's T labels, in the order of their codes
    # int32 [N, T], codes into `classes`; -1 unknown, or of a training record beyond the label budget
    labels: np.ndarray
    known: np.ndarray  # int32 [N, T], likewise, those beyond the label budget included
    training: np.ndarray  # int32, ascending: the training side, as far as config.data.train_images lets it take part

    def records(self, side: str) -> np.ndarray:
        """int32, ascending: the records of one side that take part; with labels those that have one at least."""
        records = self.training if side == "train" else self.split.records(side)
        return records[np.any(self.labels[records] >= 0, axis=1)] if self.classes else records

    def class_images(self) -> tuple[np.ndarray, ...]:
        """How many training records each class of each label has, int64 [classes]."""
        trained = self.labels[self.records("train")]
        counted = [trained[:, at][trained[:, at] >= 0] for at in range(len(self.classes))]
        return tuple(np.bincount(c, minlength=len(n)) for c, n in zip(counted, self.classes, strict=True))

    def left_out(self, side: str) -> int:
        """How many records of one side take no part."""
        return len(self.split.records(side)) - len(self.records(side))

    def training_counts(self) -> np.ndarray:
        """1 for each record that is trained on and 0 for the others, int64 [N]."""
        counts = np.zeros(len(self.manifest), np.int64)
        counts[self.records("train")] = 1
        return counts


@dataclass(frozen=True, eq=False)
class Dataset(Archive):
    """An archive as it is read: every record's bucket, and where its pixels are."""

    table: BucketTable
    bucket: np.ndarray  # int32 [N], every record's
    beyond: int  # images larger than the largest bucket: downscaled, or in extra buckets
    source: Source

    def schedule(self, config: Config) -> Schedule:
        """The training schedule over the training records that take part."""
        return training_schedule(config, self.table, self.records("train"), self.bucket)


def open_archive(config: Config) -> Archive:
    """Reads the manifest and its split, which is made and stored beside it if there is none yet.

    Errors: ValueError for a label column that does not exist, fewer than two classes among the training records, one
    that `config.task.classes` does not name, or more labels asked for than there are.
    """
    if not config.data.manifest:
        raise ValueError("config.data.manifest is empty; it must name the Parquet file that `radmae index` wrote")
    manifest = read_manifest(Path(config.data.manifest))
    if config.data.pixel_aspect == "refuse":
        _refuse_non_square(manifest)
    split_path = Path(config.data.split or f"{config.data.manifest}.split.parquet")
    if not split_path.exists():
        if config.data.split:
            raise FileNotFoundError(f"config.data.split is {config.data.split}: no such file; `radmae split` makes one")
        write_split(make_split(manifest), split_path)
    split = read_split(split_path, manifest)
    task, train = config.task, split.records("train")
    if config.data.train_images:
        try:
            train = first_patients(manifest, train, config.data.train_images)
        except ValueError as error:
            raise ValueError(f"config.data.train_images is {config.data.train_images}: {error}") from None
    if task.kind != "classify":
        none = np.empty((len(manifest), 0), np.int32)
        return Archive(manifest, split, (), none, none, train)
    read = [_label(task, at, manifest, train) for at in range(len(task.labels))]
    classes, known = tuple(names for names, _ in read), np.stack([codes for _, codes in read], axis=1)
    labels = known.copy()
    for at, label in enumerate(task.labels if task.budget else ()):
        try:
            dealt = label_budget(manifest, train, label, task.budget, task.budget_seed)
        except ValueError as error:
            raise ValueError(f"config.task.budget: {error}") from None
        labels[np.setdiff1d(train, dealt), at] = -1
    return Archive(manifest, split, classes, labels, known, train)


def _refuse_non_square(manifest: Manifest) -> None:
    aspects = manifest.table["pixel_aspect"].to_numpy()
    found = np.flatnonzero(aspects != 1.0)
    if len(found):
        raise ValueError(
            f"config.data.pixel_aspect is 'refuse'; {len(found):,} images have pixels that are not square, the first is"
            f" record {found[0]}, with pixels {aspects[found[0]]:.4g} times as high as wide; 'square' resamples them"
        )


def _label(task: Task, at: int, manifest: Manifest, train: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes of a label among the training records, and every record's code, int32 [N]; on other sides, what is no
    class is unknown."""
    label = task.labels[at]
    try:
        names = manifest.label_names(label)
    except ValueError as error:
        raise ValueError(f"config.task.labels is {task.labels}: {error}") from None
    codes = manifest.labels(label)
    training = codes[train]
    trained = tuple(names[code] for code in np.unique(training[training >= 0]))
    classes = task.classes[at] if task.classes else trained
    if len(trained) < 2:
        raise ValueError(
            f"config.task.labels is {task.labels}: the values of {label!r} among {len(training):,} training records "
            f"are {trained}; there must be at least 2"
        )
    strange = [name for name in trained if name not in classes]
    if strange:
        raise ValueError(
            f"config.task.classes is {classes}; {len(strange)} values of {label!r} among the training records are "
            f"not in it, the first is {strange[0]!r}"
        )
    place = {name: at for at, name in enumerate(classes)}
    to_class = np.array([*(place.get(name, -1) for name in names), -1], np.int32)  # the last is unknown's
    return classes, to_class[codes]


def open_dataset(config: Config) -> Dataset:
    """Opens the archive and fits the bucket table. Errors as those of `open_archive`."""
    archive = open_archive(config)
    manifest = archive.manifest
    heights, widths = manifest.heights, manifest.widths
    table = make_table(config.bins, config.model.patch, heights, widths, archive.training_counts())
    sizes = table.fit(heights, widths)
    source = Source(
        root=Path(config.data.root) if config.data.root else manifest.source,
        paths=manifest.paths,
        heights=heights,
        widths=widths,
        sizes=sizes,
        grids=table.grids(sizes[:, 0], sizes[:, 1]),
        labels=archive.labels,
        patch=config.model.patch,
        channels=config.model.channels,
        dtype=config.data.dtype,
        intensity=config.data.intensity,
        augment=config.augment,
        seed=config.train.seed,
        cache_bytes=config.data.cache_mib << 20,
        own_grids=table.pad_tokens == "masked",
    )
    beyond = int(table.is_beyond(heights, widths).sum())
    bucket = table.assign(sizes[:, 0], sizes[:, 1])
    return Dataset(
        manifest,
        split=archive.split,
        classes=archive.classes,
        labels=archive.labels,
        known=archive.known,
        training=archive.training,
        table=table,
        bucket=bucket,
        beyond=beyond,
        source=source,
    )


def sizes_of(
    sizes: str | None, config: Config, say: Callable[[str], None] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights and widths of a manifest (None: the configuration's), with 1 where it is trained on, or of every image of
    a file of sizes; int [N] each. `say` gets what was read from a CSV, by line."""
    if sizes is None or sizes.endswith(".parquet"):
        archive = open_archive(replace(config, data=replace(config.data, manifest=sizes or config.data.manifest)))
        return archive.manifest.heights, archive.manifest.widths, archive.training_counts()
    heights, widths, counts = sizes_named(sizes, say)
    heights, widths = np.repeat(heights, counts), np.repeat(widths, counts)
    return heights, widths, np.ones(len(heights), np.int64)
