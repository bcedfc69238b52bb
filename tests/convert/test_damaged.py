"""Damaged tensors are refused by their name; a pickle's payload does not run."""

import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from radmae_jax.convert.files import read_safetensors, read_tensors, write_safetensors, write_torch
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.verify import verify
from radmae_jax.convert.weights import ConvertError

_KERNEL = "vit.encoder.layer.1.intermediate.dense.weight"


def _missing(tensors):
    del tensors[_KERNEL]


def _extra(tensors):
    tensors["vit.extra"] = np.zeros(3, np.float32)


def _misshaped(tensors):
    tensors[_KERNEL] = tensors[_KERNEL].T.copy()


def _nan(tensors):
    tensors[_KERNEL][3, 5] = np.nan


def _flipped(tensors):
    tensors[_KERNEL].view(np.uint32)[3, 5] ^= 1


def _integers(tensors):
    tensors[_KERNEL] = tensors[_KERNEL].astype(np.int64)


@pytest.mark.parametrize(
    "damage, without_sums, message",
    [
        (_missing, False, f"tensor {_KERNEL} is missing"),
        (_missing, True, f"tensor {_KERNEL} is missing"),
        (_extra, False, "tensor vit.extra is extra"),
        (_extra, True, "tensor vit.extra is unknown"),
        (_misshaped, False, f"tensor {_KERNEL} does not match its checksum"),
        (_misshaped, True, rf"tensor {_KERNEL} is \[32, 128\]; this model has \[128, 32\]"),
        (_nan, False, f"tensor {_KERNEL} does not match its checksum"),
        (_nan, True, f"tensor {_KERNEL} holds 1 values not finite"),
        (_flipped, False, f"tensor {_KERNEL} does not match its checksum: its bits have changed"),
        (_integers, True, f"tensor {_KERNEL} is int64"),
    ],
)
def test_a_damaged_tensor_is_refused_by_name(damage, without_sums, message, exported):
    tensors = {name: np.array(tensor) for name, tensor in read_safetensors(exported / "model.safetensors").items()}
    damage(tensors)
    write_safetensors(exported / "model.safetensors", tensors)
    if without_sums:  # as any other program's directory
        (exported / "radmae.json").unlink()
    with pytest.raises(ConvertError, match=message):
        read_weights(exported)


@pytest.mark.parametrize("kept", [0, 4, 60, 0.5, -1])
def test_a_truncated_file_names_the_first_tensor_cut_off(kept, exported):
    path = exported / "model.safetensors"
    whole = path.read_bytes()
    size = int(kept * len(whole)) if isinstance(kept, float) else kept if kept >= 0 else len(whole) + kept
    path.write_bytes(whole[:size])
    expected = "no safetensors file, or cut off in its header" if size < 100 else "tensor .* is cut off"
    with pytest.raises(ConvertError, match=f"model.safetensors: {expected}"):
        read_weights(exported)


def test_a_name_given_twice_is_refused(tmp_path):
    header = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    (tmp_path / "twice.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ConvertError, match=r"twice.safetensors: tensor a is given twice"):
        read_weights(tmp_path / "twice.safetensors")


def test_two_spellings_of_one_tensor_are_refused(exported):
    tensors = dict(read_safetensors(exported / "model.safetensors"))
    tensors["embeddings.cls_token"] = tensors["vit.embeddings.cls_token"]
    write_safetensors(exported / "model.safetensors", tensors)
    (exported / "radmae.json").unlink()
    with pytest.raises(ConvertError, match=r"tensor vit.embeddings.cls_token is given twice"):
        read_weights(exported)


def test_goldens_and_their_bits_are_checked(exported):
    goldens = {name: np.array(x) for name, x in read_safetensors(exported / "goldens.safetensors").items()}
    goldens["native/pixels"][0, 0] ^= 1
    write_safetensors(exported / "goldens.safetensors", goldens)
    with pytest.raises(ConvertError, match=r"goldens.safetensors: tensor native/pixels does not match its checksum"):
        verify(exported)


class _Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "old.pt"])
def test_a_pickle_with_a_payload_is_refused_and_does_not_run(name, tmp_path):
    marker = tmp_path / "ran"
    content = {"model": {"cls_token": torch.zeros(1, 1, 32)}, "extra": _Payload(marker)}
    # .pt: the format before archives, one bare pickle after another
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name != "old.pt")
    with pytest.raises(ConvertError, match=f"{name}: refused, it holds more than tensors and settings"):
        read_weights(tmp_path / name)
    assert not marker.exists()
    torch.load(tmp_path / name, weights_only=False)
    assert marker.exists()  # the payload was one


def test_an_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "vit.npz", cls=np.array([_Payload(tmp_path / "ran")], object))
    with pytest.raises(ConvertError, match=r"vit.npz: tensor cls: .*allow_pickle=False"):
        read_weights(tmp_path / "vit.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_flipped_and_missing_bytes_of_archives_are_refused(suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    tensors = {"a": np.arange(5000, dtype=np.float32), "b": np.ones(5, np.float32)}
    write_torch(path, tensors, {}) if suffix == ".pth" else np.savez(path, **tensors)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.arange(2000, 2010, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(bytes(flipped))
    named = "record .*data/0 does not match its checksum" if suffix == ".pth" else "tensor a: Bad CRC-32"
    with pytest.raises(ConvertError, match=f"file{suffix}: .*{named}"):
        read_weights(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConvertError, match=f"file{suffix}: "):
        read_weights(path)


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_models_in_several_files(index, exported):
    tensors = read_safetensors(exported / "model.safetensors")
    (exported / "model.safetensors").unlink()
    (exported / "radmae.json").unlink()
    names, places = sorted(tensors), {}
    suffix = ".bin" if "bin" in index else ".safetensors"
    for part, some in enumerate((names[:20], names[20:])):
        file = f"part-{part}{suffix}"
        places |= dict.fromkeys(some, file)
        of_part = {name: tensors[name] for name in some}
        if suffix == ".bin":
            torch.save({name: torch.from_numpy(np.array(x)) for name, x in of_part.items()}, exported / file)
        else:
            write_safetensors(exported / file, of_part)

    def read(map_: object):
        (exported / index).write_text(json.dumps({"weight_map": map_}))
        return read_weights(exported)

    assert len(read(places).tensors) == 62
    for change, message in (
        ({names[0]: "../part-0" + suffix}, "names a file outside the directory"),
        ({names[0]: f"part-1{suffix}"}, f"tensor {names[0]} is not in this file by the index"),
        ({"vit.more": f"part-1{suffix}"}, "tensor vit.more is missing"),
        ({names[0]: 3}, "has no weight_map of names to files"),
    ):
        with pytest.raises(ConvertError, match=message):
            read(places | change)


@pytest.mark.parametrize("name", ["float64", "int8", "complex64"])
def test_tensors_that_are_no_weights_are_refused_by_name(name, tmp_path):
    torch.save({"model": {"cls_token": torch.zeros(1, 1, 4, dtype=getattr(torch, name))}}, tmp_path / "a.pth")
    np.savez(tmp_path / "a.npz", cls=np.zeros((1, 1, 4), name))
    for file, tensor in (("a.pth", "cls_token"), ("a.npz", "cls")):
        with pytest.raises(ConvertError, match=f"{file}: tensor {tensor} is .*{name}"):
            read_weights(tmp_path / file)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".npz", ".safetensors"])
def test_random_damage_is_an_error_that_names_the_file(suffix, tmp_path):
    """200 flipped bits and 50 cuts a format: refused, or read with another number in it; never another exception."""
    path, rng = tmp_path / f"file{suffix}", np.random.default_rng(0)
    tensors = {"a": rng.normal(size=(20, 5)).astype(np.float32), "b": np.ones(5, np.float32)}
    if suffix == ".safetensors":
        write_safetensors(path, tensors)
    elif suffix == ".npz":
        np.savez_compressed(path, **tensors)
    else:
        state = {name: torch.from_numpy(x) for name, x in tensors.items()}
        torch.save({"model": state}, path, _use_new_zipfile_serialization=suffix == ".pth")
    whole = path.read_bytes()
    for number in range(250):
        damaged = bytearray(whole)
        if number < 200:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        else:
            damaged = damaged[: rng.integers(len(whole))]
        path.write_bytes(bytes(damaged))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read_tensors(path).tensors
            except ConvertError as error:
                assert f"file{suffix}" in str(error)
                continue
        # What carries no checksum may read with a number, a name or a shape changed; an archive's tensors may not.
        if suffix in (".pth", ".npz"):
            for name in found.keys() & tensors.keys():
                np.testing.assert_array_equal(found[name].ravel(), tensors[name].ravel())
        elif suffix == ".safetensors" and found.keys() == tensors.keys():
            assert sum(int((found[name].ravel() != tensors[name].ravel()).sum()) for name in tensors) <= 1
