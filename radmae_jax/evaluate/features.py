"""Weights of any kind and an archive to one vector an image: the features of a frozen encoder, and their file."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from radmae_jax.config import Config, Data
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.weights import Weights, encoder_of, to_variables
from radmae_jax.data.batch import Batch
from radmae_jax.data.dataset import open_archive
from radmae_jax.data.manifest import Manifest, read_manifest
from radmae_jax.evaluate.passes import TooManyUnreadable, Visited, in_pieces, over_records, read_for
from radmae_jax.model.classifier import Classifier, build
from radmae_jax.train.bits import fingerprint
from radmae_jax.train.classification import forward
from radmae_jax.train.saved import is_run, read_run
from radmae_jax.train.start import weights_of

MAX_UNREADABLE = 0.01  # share of the images, as config.data.max_unreadable
POOLS = ("class", "mean")
_VERSION = 1  # of the file of features
# Images of a row group: 13 MB of ViT-B's features. They are held in memory, and each one fills its buckets' last calls.
_ROW_GROUP = 4096


@dataclass(frozen=True, eq=False)
class Features:
    """A frozen encoder and what it makes of an image: float32 [D]. All tokens are seen, also by an MAE's encoder.

    The final norm stands where it was trained to stand. That of an MAE, or of a classifier by class token, is of every
    token: `class` is the normalised class token, `mean` the mean of the image's own normalised tokens. That of a
    classifier by mean is of their mean; its class token was never read, and `class` is refused.
    """

    model: Classifier
    params: dict[str, Any]
    config: Config  # how it sees images: pixels, bins, patches
    pool: str
    step: int | None  # optimizer steps; None where that is not known
    sha256: str  # over the encoder's tensors: equal for a run and its exports

    @property
    def width(self) -> int:
        """D."""
        return self.model.shape.encoder.width

    def of_batch(self, params: Any, batch: Batch) -> jax.Array:
        """For jit: float32 [B, D]."""
        found = forward(self.model, params, batch)
        if self.pool == self.model.shape.pool:
            return found.pooled
        count = batch.grid[:, 0] * batch.grid[:, 1]
        own = jnp.arange(batch.patches.shape[1], dtype=jnp.int32)[None, :] < count[:, None]
        return jnp.sum(jnp.where(own[..., None], found.tokens[:, 1:], 0.0), axis=1) / count[:, None]

    def of_records(
        self, manifest: Manifest, records: np.ndarray, root: str = "", told: Callable[[int], None] | None = None
    ) -> Visited:
        """Features of an archive's records, float32 [n, D], held in memory.

        Args:
          records: int32 [n], distinct.
          root: folder the manifest's paths are relative to; empty: the one it was indexed from.
        """
        reading = read_for(self.at(root), manifest, records)
        return over_records(reading, self.of_batch, self.params, records, told)

    def at(self, root: str) -> Config:
        """The configuration for another archive than the one that was trained on."""
        return replace(self.config, data=replace(self.config.data, root=root))

    def facts(self) -> dict[str, Any]:
        """What the features depend on, beside the images."""
        return {"sha256": self.sha256, "step": self.step, "pool": self.pool}


def read_features(path: Path, pool: str = "", step: int | str = "latest") -> Features:
    """The encoder of a run or of any weights, and how it sees images.

    Args:
      path: as `--init` takes it: a run (its work directory, `checkpoints` or one step), an exported directory, one of
        Hugging Face's, or a .safetensors, .npz or .pth file.
      pool: class | mean; empty: what the weights' final norm stands at, of an MAE the class token.
      step: of a run: a saved step, "latest" or "best".

    Errors: those of `read_run` and `read_weights`; ValueError for the class token of a classifier by mean.
    """
    if is_run(path):
        saved = read_run(path, step)
        return features_of(weights_of(saved), saved.config, pool, saved.step)
    if step != "latest":
        raise ValueError(f"step {step!r}: {path} is no run")
    weights = read_weights(path, decoder=False)
    pixels, done = weights.pixels, weights.recipe.get("optimizer steps")
    config = Config(data=Data(intensity=pixels.intensity or "voi", dtype=pixels.dtype))
    return features_of(weights, config, pool, done if isinstance(done, int) else None)


def features_of(weights: Weights, config: Config, pool: str = "", step: int | None = None) -> Features:
    """The encoder of weights at hand; config.model is theirs whatever `config` says. Else as `read_features`."""
    encoder = encoder_of(weights)
    trained = encoder.model.pool
    pool = pool or trained
    if pool not in POOLS:
        raise ValueError(f"pool {pool!r}; it must be one of {', '.join(POOLS)}")
    if pool == "class" and trained == "mean":
        raise ValueError("pool 'class': these weights were trained to pool the mean, their class token says nothing")
    params = to_variables(encoder)["params"]
    return Features(
        build(encoder.model, 0), params, replace(config, model=encoder.model), pool, step, fingerprint(params)
    )


def records_of(manifest: Path, side: str, split: str = "") -> tuple[Manifest, np.ndarray]:
    """An opened manifest and the records of one side of its split, int32, or of `all` without looking at a split."""
    if side == "all":
        opened = read_manifest(manifest)
        return opened, np.arange(len(opened), dtype=np.int32)
    archive = open_archive(Config(data=Data(manifest=str(manifest), split=split)))
    return archive.manifest, archive.records(side)


def refuse_unreadable(problems: tuple[tuple[int, str], ...], images: int, allowed: float) -> None:
    """Raises TooManyUnreadable where more than that share of the images could not be read."""
    if len(problems) > allowed * images:
        raise TooManyUnreadable(problems, images, allowed, "--max-unreadable")


@dataclass(frozen=True)
class Embedded:
    """What `radmae embed` did; the keys of its JSON report."""

    path: str
    images: int  # in the file
    width: int  # numbers an image
    weights: dict[str, Any]  # sha256, step, pool
    manifest: str  # hash
    side: str
    unreadable: dict[str, str]  # record to its reason; not in the file
    seconds: float


def embed(
    features: Features, manifest: Manifest, records: np.ndarray, out: Path, side: str, root: str = "",
    max_unreadable: float = MAX_UNREADABLE, told: Callable[[int], None] | None = None,
) -> Embedded:  # fmt: skip
    """Writes features to Parquet: record int32, patient (keyed hash), feature float32 [D], in the order of the records.

    The file appears whole or not at all. Errors: TooManyUnreadable as soon as it is certain.
    """
    began = time.perf_counter()
    reading = read_for(features.at(root), manifest, records)
    facts = {"version": _VERSION, **features.facts(), "manifest": manifest.hash, "side": side}
    schema = pa.schema(
        [("record", pa.int32()), ("patient", pa.string()), ("feature", pa.list_(pa.float32(), features.width))],
        metadata={"radmae": json.dumps(facts)},
    )
    problems: tuple[tuple[int, str], ...] = ()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for piece in in_pieces(reading, features.of_batch, features.params, records, _ROW_GROUP, told):
                problems += piece.problems
                refuse_unreadable(problems, len(records), max_unreadable)
                writer.write_table(_rows(piece, manifest, schema))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return Embedded(
        str(out), len(records) - len(problems), features.width, features.facts(), manifest.hash, side,
        {str(record): reason for record, reason in problems}, time.perf_counter() - began,
    )  # fmt: skip


def _rows(piece: Visited, manifest: Manifest, schema: pa.Schema) -> pa.Table:
    records, found = piece.records[piece.read], piece.outputs[piece.read]
    patients = [manifest.patients[record] for record in records.tolist()]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])
    return pa.Table.from_arrays([pa.array(records), pa.array(patients, pa.string()), vectors], schema=schema)
