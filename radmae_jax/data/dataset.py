"""A configuration and a manifest to everything a run reads by: split, bucket table, schedule and pixel source."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.binning import BucketTable, make_table
from radmae_jax.data.loader import Source
from radmae_jax.data.manifest import Manifest, read_manifest
from radmae_jax.data.schedule import Schedule, training_schedule
from radmae_jax.data.splits import Split, make_split, read_split, write_split


@dataclass(frozen=True)
class Dataset:
    """An opened archive; records are rows of the manifest."""

    manifest: Manifest
    split: Split
    table: BucketTable
    bucket: np.ndarray  # int32 [N], every record's
    beyond: int  # images larger than the largest bucket: downscaled, or in extra buckets
    source: Source

    def schedule(self, config: Config) -> Schedule:
        """The training schedule over the split's training records."""
        return training_schedule(config, self.table, self.split.records("train"), self.bucket)


def open_archive(config: Config) -> tuple[Manifest, Split]:
    """Reads the manifest and its split, which is made and stored beside it if there is none yet."""
    if not config.data.manifest:
        raise ValueError("config.data.manifest is empty; it must name the Parquet file that `radmae index` wrote")
    manifest = read_manifest(Path(config.data.manifest))
    split_path = Path(config.data.split or f"{config.data.manifest}.split.parquet")
    if not split_path.exists():
        if config.data.split:
            raise FileNotFoundError(f"config.data.split is {config.data.split}: no such file; `radmae split` makes one")
        write_split(make_split(manifest), split_path)
    return manifest, read_split(split_path, manifest)


def open_dataset(config: Config) -> Dataset:
    """Opens the archive and fits the bucket table."""
    manifest, split = open_archive(config)
    heights, widths = manifest.heights, manifest.widths
    table = make_table(config.bins, config.model.patch, heights, widths, training_counts(split, len(heights)))
    sizes = table.fit(heights, widths)
    source = Source(
        root=Path(config.data.root) if config.data.root else manifest.source,
        paths=manifest.paths,
        heights=heights,
        widths=widths,
        sizes=sizes,
        grids=table.grids(sizes[:, 0], sizes[:, 1]),
        labels=np.empty((len(heights), 0), np.int32),
        patch=config.model.patch,
        channels=config.model.channels,
        dtype=config.data.dtype,
        intensity=config.data.intensity,
    )
    beyond = int(table.is_beyond(heights, widths).sum())
    return Dataset(manifest, split, table, table.assign(sizes[:, 0], sizes[:, 1]), beyond, source)


def training_counts(split: Split, images: int) -> np.ndarray:
    """1 for each training record and 0 for the others, int64 [images]."""
    counts = np.zeros(images, np.int64)
    counts[split.records("train")] = 1
    return counts
