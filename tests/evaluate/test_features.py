"""Features of a frozen encoder: what they are, that buckets do not matter, and their file."""

import json
import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from radmae_jax.config import Bins, Config
from radmae_jax.convert.weights import to_variables
from radmae_jax.data.loader import load_rows
from radmae_jax.data.manifest import read_manifest
from radmae_jax.evaluate.features import Features, embed, features_of, records_of
from radmae_jax.evaluate.one_image import batch_of, read_pixels
from radmae_jax.evaluate.passes import TooManyUnreadable, in_pieces, over_records, read_for
from radmae_jax.model import mae


@pytest.fixture(scope="module")
def encoder(make_weights, small_model) -> Features:
    return features_of(make_weights("mae", small_model), Config(), "mean")


@pytest.fixture(scope="module")
def manifest(labelled):
    return read_manifest(labelled)


def _run(features, reading, records):
    return over_records(reading, features.of_batch, features.params, records)


def test_an_image_has_the_same_features_in_any_bucket(encoder, manifest):
    records = np.array([40, 3, 59, 17, 22, 8, 31, 5, 12, 50], np.int32)  # in no order
    one = read_for(encoder.config, manifest, records, shapes=1)
    several = read_for(encoder.config, manifest, records, shapes=4)
    assert len(one.lengths) == 1 < len(several.lengths)
    first, second = (_run(encoder, reading, records) for reading in (one, several))
    assert first.read.all() and second.read.all()
    np.testing.assert_allclose(first.outputs, second.outputs, atol=1e-5)
    for record, found in zip(records[:2], first.outputs[:2], strict=True):  # in its own row of its own length
        image = read_pixels(manifest.file(int(record)), encoder.config)
        alone = jax.jit(encoder.of_batch)(encoder.params, batch_of(image, encoder.config))
        np.testing.assert_allclose(found, np.asarray(alone)[0], atol=1e-5)
    assert np.abs(first.outputs[0] - first.outputs[1]).max() > 0.01


def test_pieces_are_the_whole_in_order(encoder, manifest):
    records = np.arange(23, dtype=np.int32)[::-1].copy()
    reading = read_for(encoder.config, manifest, records, shapes=1)
    told = []
    pieces = list(in_pieces(reading, encoder.of_batch, encoder.params, records, 10, told.append))
    assert [len(piece.records) for piece in pieces] == [10, 10, 3] and sum(told) == 23
    np.testing.assert_array_equal(np.concatenate([piece.records for piece in pieces]), records)
    whole = _run(encoder, reading, records)
    np.testing.assert_allclose(np.concatenate([piece.outputs for piece in pieces]), whole.outputs, atol=1e-6)


def test_an_mae_is_seen_whole_and_its_norm_comes_first(make_weights, small_model, encoder, manifest):
    """Against the MAE's own forward pass with nothing hidden; its tokens are shuffled, which a mean does not see."""
    model = mae.build(replace(small_model, mask_ratio=0.0))
    weights = make_weights("mae", small_model)
    variables = to_variables(weights)
    by_class = features_of(weights, Config())
    assert by_class.pool == "class"
    reading = read_for(encoder.config, manifest, np.arange(3, dtype=np.int32), shapes=1)
    batch, _ = load_rows(reading.source, np.arange(3), reading.lengths[0], 0)
    whole = partial(
        model.apply, capture_intermediates=lambda module, _: module.name == "encoder_norm", mutable=["intermediates"]
    )
    noise = jnp.full(batch.patches.shape[:2], 0.5)
    _, state = jax.jit(whole)(variables, batch.patches, batch.grid, batch.extent, noise)
    tokens = np.asarray(state["intermediates"]["encoder_norm"]["__call__"][0])
    first, mean = (np.asarray(jax.jit(f.of_batch)(f.params, batch)) for f in (by_class, encoder))
    np.testing.assert_allclose(first, tokens[:, 0], atol=2e-5)
    for row, count in enumerate(batch.grid.prod(axis=1).tolist()):
        np.testing.assert_allclose(mean[row], tokens[row, 1 : 1 + count].mean(axis=0), atol=2e-5)


def test_a_classifier_by_mean_keeps_its_norm_after_the_mean(make_weights, small_model, manifest):
    weights = make_weights("classifier", replace(small_model, pool="mean"), ("a", "b"))
    features = features_of(weights, Config())
    batch, _ = load_rows(read_for(features.config, manifest, np.arange(2), 1).source, np.arange(2), 40, 0)
    found = np.asarray(jax.jit(features.of_batch)(features.params, batch))
    scale, bias = (np.asarray(features.params["encoder_norm"][name]) for name in ("scale", "bias"))
    normalised = (found - bias) / scale
    np.testing.assert_allclose(normalised.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(axis=1), 1, atol=1e-3)
    with pytest.raises(ValueError, match="their class token says nothing"):
        features_of(weights, Config(), "class")


@pytest.mark.parametrize(
    "bins, side",
    [
        (Bins(policy="fixed", max_side=56, pad_tokens="poster"), 7),  # the padding is part of the image
        (Bins(lengths=(9,), beyond="downscale"), 3),
        (Bins(lengths=(9,), beyond="refuse"), 0),  # the run's own table does not matter
    ],
)
def test_an_image_has_the_size_it_would_be_trained_at(bins, side, encoder, manifest):
    records = np.arange(60, dtype=np.int32)
    reading = read_for(replace(encoder.config, bins=bins), manifest, records)
    own = -(-np.stack([manifest.heights, manifest.widths], axis=1) // 8)
    if side == 0:
        np.testing.assert_array_equal(reading.source.grids, own)
        assert 1 < len(reading.lengths) <= 8
    elif side == 7:
        assert reading.lengths == (49,) and np.all(reading.source.grids == 7)
    else:
        assert reading.lengths[-1] <= 9 < own.prod(axis=1).min()
    assert all(rows % 8 == 0 for rows in reading.rows)  # devices
    listed = np.concatenate([call.records for call in reading.calls(records)])
    np.testing.assert_array_equal(np.sort(listed[listed >= 0]), records)


def test_embed_writes_what_can_be_read(mae_at, labelled, manifest, encoder, tmp_path, capsys, command):
    shutil.copytree(manifest.source, tmp_path / "images")
    (tmp_path / "images" / manifest.paths[7]).write_bytes(b"no image")
    out, figures = tmp_path / "features.parquet", tmp_path / "figures.json"
    arguments = [
        "embed", mae_at, labelled, out, "--pool", "mean", "--root", tmp_path / "images", "--json", figures,
    ]  # fmt: skip
    assert command(*arguments) == 3 and not out.exists()  # 1 of 60 is more than 1 %
    assert list(json.loads(figures.read_text())["unreadable"]) == ["7"]
    assert "above --max-unreadable 1.0%; record 7" in capsys.readouterr().err
    assert command(*arguments, "--max-unreadable", "0.02") == 0
    table = pq.read_table(out)
    read = [record for record in range(60) if record != 7]
    assert table["record"].to_pylist() == read
    assert table["patient"].to_pylist() == [manifest.patients[record] for record in read]
    assert table.schema.field("feature").type.list_size == encoder.width == 32
    wanted = encoder.of_records(manifest, np.arange(60, dtype=np.int32))
    assert wanted.read.all()
    np.testing.assert_allclose(np.stack(table["feature"].to_numpy()), wanted.outputs[read], atol=1e-6)
    facts = json.loads(table.schema.metadata[b"radmae"])
    assert facts["manifest"] == manifest.hash and facts["pool"] == "mean" and facts["sha256"] == encoder.sha256
    said = json.loads(figures.read_text())
    assert said["images"] == 59 and list(said["unreadable"]) == ["7"] and said["weights"]["sha256"] == encoder.sha256
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    for text in (said["unreadable"]["7"], json.dumps(facts)):
        assert manifest.paths[7] not in text


def test_an_archive_that_cannot_be_read_is_given_up_at_once(encoder, manifest, monkeypatch, tmp_path):
    monkeypatch.setattr("radmae_jax.evaluate.features._ROW_GROUP", 8)
    told = []
    with pytest.raises(TooManyUnreadable, match="8 of 60 records"):
        embed(encoder, manifest, np.arange(60), tmp_path / "f.parquet", "all", str(tmp_path), 0.1, told.append)
    assert sum(told) < 60 and list(tmp_path.iterdir()) == []


def test_a_side_is_that_of_the_split(labelled):
    sides = [records_of(labelled, side)[1] for side in ("train", "validation", "test")]
    assert [len(side) for side in sides] == [42, 12, 6]
    everything = records_of(labelled, "all")[1]
    np.testing.assert_array_equal(np.sort(np.concatenate(sides)), everything)
