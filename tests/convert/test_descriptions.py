"""What a directory says of its tensors is held to; every file of it is verified; what is not said is asked for."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from radmae_jax.convert import in_torch
from radmae_jax.convert.exported import own_sum, write_weights
from radmae_jax.convert.files import write_torch
from radmae_jax.convert.formats import Known, read_weights
from radmae_jax.convert.forms import theirs_of
from radmae_jax.convert.verify import verify
from radmae_jax.convert.weights import ConvertError


def _describe(folder: Path, card: dict) -> None:
    """Writes radmae.json with a checksum of its own that is right: other settings, not damage."""
    (folder / "radmae.json").write_text(json.dumps(card | {"self_sha256": own_sum(card)}))


def test_a_configuration_of_another_model_is_refused(exported):
    (exported / "radmae.json").unlink()
    path = exported / "config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3; it must be 2, as the tensors are"),
        ({"image_size": [24, 96]}, r"image_size is \[24, 96\]; it must be 48, as the tensors are"),
        ({"patch_size": 16}, "patch_size is 16; it must be 8"),
        ({"num_channels": 3}, "num_channels is 3; it must be 1"),
        ({"layer_norm_eps": -1}, "config.model.norm_eps is -1.0"),
        ({"layer_norm_eps": None}, "layer_norm_eps is None; it must be a number"),
        ({"mask_ratio": 1.5}, "config.model.mask_ratio is 1.5"),
        ({"norm_pix_loss": "false"}, "norm_pix_loss is 'false'; it must be true or false"),
        ({"num_attention_heads": 5}, "encoder of width 32 with 5 heads; heads must divide the width"),
        ({"hidden_size": "32"}, "hidden_size is '32'; it must be 32, as the tensors are"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"qkv_bias": False}, "qkv_bias is False"),
        ({"intermediate_size": 64}, "intermediate_size is 64; it must be 128"),
        ({"model_type": "bert"}, "model_type is 'bert'"),
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(ConvertError, match=message):
            read_weights(exported)


def test_verify_sees_a_program_that_computes_otherwise(exported):
    """Other settings with the same tensors: every checksum holds, the outputs do not."""
    card = json.loads((exported / "radmae.json").read_text())
    assert verify(exported).passed
    card["model"]["resample"] = "bicubic"
    (exported / "radmae.json").write_text(json.dumps(card))
    with pytest.raises(ConvertError, match=r"radmae.json does not match its own checksum"):
        read_weights(exported)
    _describe(exported, card)
    with pytest.raises(ConvertError, match="plain is not what model says"):
        verify(exported)
    card["plain"]["resample"] = "bicubic"
    _describe(exported, card)
    verdict = verify(exported)
    assert not verdict.passed
    assert verdict.differences["jax"]["native"]["prediction"] < 1e-6  # the table as it is
    assert verdict.differences["jax"]["partial"]["prediction"] > 1e-3
    assert verdict.tensors == 62 and set(verdict.differences) == {"jax", "transformers"}


def test_the_original_maes_arguments_are_read(small_model, make_weights, tmp_path):
    """argparse.Namespace is the one class allowed beside tensors."""
    weights = make_weights("mae", small_model)
    theirs = theirs_of(weights, "mae_pth")
    state = {name: torch.from_numpy(x) for name, x in theirs.items()}
    arguments = argparse.Namespace(norm_pix_loss=True, mask_ratio=0.6, output_dir=Path("/x").as_posix())
    torch.save({"model": state, "args": arguments, "epoch": 3, "optimizer": {}}, tmp_path / "mae.pth")
    found = read_weights(tmp_path / "mae.pth", known=Known(4, 2))
    assert found.norm_pix and found.model.mask_ratio == 0.6


def test_without_pytorch_it_is_said_what_to_install(exported, monkeypatch, tmp_path):
    write_torch(tmp_path / "mae.pth", {"cls_token": np.zeros((1, 1, 8), np.float32)}, {})
    monkeypatch.setattr(in_torch, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    verdict = verify(exported)
    assert verdict.passed and set(verdict.differences) == {"jax"}
    assert verdict.not_run == {"transformers": "torch and transformers not installed"}
    with pytest.raises(ConvertError, match=r"mae.pth needs PyTorch: pip install 'radmae-jax\[convert\]'"):
        read_weights(tmp_path / "mae.pth")


@pytest.mark.parametrize(
    "form, file",
    [
        ("mae_pth", "model.pth"), ("mae_pth", "vit_mae.py"), ("timm", "example.py"), ("huggingface", "config.json"),
        ("huggingface", "preprocessor_config.json"), ("radmae", "README.md"),
    ],
)  # fmt: skip
def test_every_file_of_a_directory_is_verified(form, file, small_model, make_weights, tmp_path):
    kind = "mae" if form == "mae_pth" else "encoder"
    write_weights(make_weights(kind, small_model), tmp_path / "out", form)
    verdict = verify(tmp_path / "out")
    assert verdict.passed and ("plain" in verdict.differences) == (form in ("mae_pth", "timm"))
    path = tmp_path / "out" / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ConvertError, match=f"file {file} does not match its checksum"):
        verify(tmp_path / "out")
    path.unlink()
    with pytest.raises(ConvertError, match=f"file {file} is missing"):
        verify(tmp_path / "out")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "pickle"}, "format 'pickle'; it must be one of"),
        ({"sha256": None}, "sha256 is None; it must be an object"),
        ({"classes": "ab"}, "classes is 'ab'; it must be a tuple of texts"),
        ({"kind": "vit"}, "kind 'vit'; it must be one of"),
        ({"classes": ["a", "b"]}, "classes of a model of kind 'mae'"),
        ({"model": {"gelu": "relu"}}, "config.model.gelu is 'relu'"),
        ({"model": {"layers": 10**6}}, "describes 1000000 layers of width 32"),
        ({"model": {"table_side": 4000}}, r"tables of 4000 x 4000, at least .* values; the tensors have"),
        ({"pixels": {"dtype": "float32"}}, "dtype 'float32' are not known"),
        ({"model": {"width": 33}}, "heads and 4 must divide the width"),
    ],
)
def test_a_description_of_another_model_is_refused_before_anything_is_made(change, message, exported):
    card = json.loads((exported / "radmae.json").read_text())
    for name, value in change.items():
        card[name] = card[name] | value if isinstance(value, dict) else value
    _describe(exported, card)
    with pytest.raises(ConvertError, match=message):
        read_weights(exported)


def test_a_file_is_not_read_without_the_description_beside_it(exported, tmp_path):
    with pytest.raises(ConvertError, match=r"model.safetensors has radmae.json beside it, which says what it is"):
        read_weights(exported / "model.safetensors")
    with pytest.raises(ConvertError, match="says all there is to know"):
        read_weights(exported, known=Known(heads=4))
    shutil.move(exported / "model.safetensors", tmp_path / "bare.safetensors")
    with pytest.raises(ConvertError, match="decoder of width 16: its heads are not known; say --decoder-heads"):
        read_weights(tmp_path / "bare.safetensors", known=Known(heads=4))
    with pytest.raises(ConvertError, match="does not say whether this MAE predicts normalised patches"):
        read_weights(tmp_path / "bare.safetensors", known=Known(4, 2))
    assert read_weights(tmp_path / "bare.safetensors", known=Known(4, 2, norm_pix=True)).norm_pix
    encoder = read_weights(tmp_path / "bare.safetensors", known=Known(4), decoder=False)  # which needs no such thing
    assert encoder.kind == "encoder" and "the decoder is left out (24 tensors)" in encoder.notes


def test_what_is_said_must_not_contradict_what_is_found(small_model, make_weights, tmp_path):
    mae, encoder = make_weights("mae", small_model, norm_pix=True), make_weights("encoder", small_model)
    write_torch(tmp_path / "mae.pth", theirs_of(mae, "mae_pth"), {"norm_pix_loss": True})
    np.savez(tmp_path / "vit.npz", **theirs_of(encoder, "big_vision"))
    write_weights(mae, tmp_path / "hf", "huggingface")
    (tmp_path / "hf/radmae.json").unlink()
    for file, known, message in (
        ("mae.pth", Known(4, 2, norm_pix=False), "mae.pth has norm_pix True; False was said"),
        ("vit.npz", Known(heads=2), "vit.npz has heads 4; 2 was said"),
        ("vit.npz", Known(norm_pix=True), "vit.npz has no decoder"),
        ("hf", Known(heads=2), "hf has heads 4; 2 was said"),
        ("hf", Known(norm_pix=False), "hf has norm_pix True; False was said"),
    ):
        with pytest.raises(ConvertError, match=message):
            read_weights(tmp_path / file, known=known)
    torch.save({"net": {"cls_token": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ConvertError, match=r"other.pth holds no tensors by name; not read, beside the weights: net"):
        read_weights(tmp_path / "other.pth")
