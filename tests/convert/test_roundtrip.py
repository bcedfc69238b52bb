"""Out and in again is bitwise, and names are held to strictly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radmae_jax.convert.exported import OWN, read_card, write_weights
from radmae_jax.convert.files import write_safetensors, write_torch
from radmae_jax.convert.formats import Known, read_weights
from radmae_jax.convert.forms import theirs_of
from radmae_jax.convert.names import FORMATS, rules_for
from radmae_jax.convert.weights import ConvertError, check, encoder_of, shapes_of

_NONE, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def _same(found, weights) -> None:
    assert found.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    "form, kind, change",
    [
        ("huggingface", "mae", {"resample": "bicubic", "decoder_positions": "hf_flat", "norm_eps": 1e-12}),
        ("huggingface", "encoder", {"gelu": "tanh"}),
        ("huggingface", "classifier", {"channels": 3}),
        ("timm", "encoder", {}),
        ("timm", "classifier", {"pool": "mean", "norm_eps": 1e-5}),
        ("mae_pth", "mae", {"channels": 3}),
        ("mae_pth", "classifier", {"pool": "mean"}),
        (OWN, "mae", {}),
        (OWN, "classifier", {"pool": "mean", "gelu": "tanh"}),
    ],
)
def test_out_and_in_is_bitwise(form, kind, change, small_model, make_weights, tmp_path):
    classes = ("left", "right", "none") if kind == "classifier" else ()
    weights = replace(
        make_weights(kind, replace(small_model, **change), classes, norm_pix=kind == "mae"),
        recipe={"optimizer steps": 7}, notes=("a note",),
    )  # fmt: skip
    write_weights(weights, tmp_path / "out", form)
    found = read_weights(tmp_path / "out")
    _same(found, weights)
    assert replace(found, tensors={}) == replace(weights, tensors={})
    with pytest.raises(ConvertError, match="exists and is not an empty directory"):
        write_weights(weights, tmp_path / "out", form)


def test_an_empty_directory_somebody_stands_in_is_filled(small_model, make_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_weights(make_weights("encoder", small_model), Path(), OWN)
    assert read_weights(Path()).kind == "encoder" and Path("radmae.json").exists()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".safetensors"}


@pytest.mark.parametrize("kind", ["mae", "classifier", "encoder"])
def test_without_our_own_file_the_formats_configuration_is_enough(kind, small_model, make_weights, tmp_path):
    classes = ("left", "right") if kind == "classifier" else ()
    weights = make_weights(kind, replace(small_model, channels=3, norm_eps=1e-9), classes, norm_pix=kind == "mae")
    write_weights(weights, tmp_path / "out", "huggingface")
    (tmp_path / "out/radmae.json").unlink()
    found = read_weights(tmp_path / "out")
    _same(found, weights)  # preprocessor_config.json says that pixels are not scaled further
    # Hugging Face's configuration cannot say how positions are resized: its own way is taken.
    model = replace(weights.model, resample="bicubic", decoder_positions="hf_flat")
    decoder = ("decoder_width", "decoder_layers", "decoder_heads")
    if kind != "mae":
        model = replace(model, **{name: getattr(found.model, name) for name in decoder})
    assert (found.model, found.classes, found.norm_pix) == (model, weights.classes, weights.norm_pix)


def test_files_without_any_configuration_are_read_by_shapes(small_model, make_weights, tmp_path):
    mae = make_weights("mae", replace(small_model, channels=3))
    write_torch(tmp_path / "mae.pth", theirs_of(mae, "mae_pth"), {"norm_pix_loss": False})
    found = read_weights(tmp_path / "mae.pth", known=Known(4, 2, _NONE, _ONE))
    _same(found, mae)
    assert found.model == replace(mae.model, resample="bicubic")
    scaled = read_weights(tmp_path / "mae.pth", known=Known(4, 2))
    assert "mean 0.485, 0.456, 0.406" in scaled.notes[-1]

    write_safetensors(tmp_path / "mae.safetensors", theirs_of(mae, "huggingface"))
    encoder = read_weights(tmp_path / "mae.safetensors", known=Known(4), decoder=False)
    assert encoder.kind == "encoder" and "mean 0.485, 0.456, 0.406" in encoder.notes[-1]  # an MAE's, decoder or not

    for kind, form, classes in (("encoder", "timm", ()), ("classifier", "huggingface", ("class 0", "class 1"))):
        weights = make_weights(kind, replace(small_model, channels=3), classes)
        write_safetensors(tmp_path / f"{form}.safetensors", theirs_of(weights, form))
        found = read_weights(tmp_path / f"{form}.safetensors", known=Known(4, 0, _NONE, _ONE))
        _same(found, weights)
        assert (found.kind, found.classes) == (kind, classes)

    with pytest.raises(ConvertError, match="encoder of width 32: its heads are not known; say --heads"):
        read_weights(tmp_path / "timm.safetensors")


def test_the_original_vits_npz(small_model, make_weights, tmp_path):
    """Heads show in the kernels; GELU is tanh; pixels were from -1 to 1; the pre-logits layer is left out, and said."""
    weights = make_weights("classifier", replace(small_model, channels=3, gelu="tanh"), ("class 0", "class 1"))
    theirs = theirs_of(weights, "big_vision")
    assert theirs["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"].shape == (32, 4, 8)
    assert theirs["Transformer/posembed_input/pos_embedding"].shape == (1, 37, 32)
    np.savez(tmp_path / "vit.npz", **theirs)
    found = read_weights(tmp_path / "vit.npz", known=Known(0, 0, _NONE, _ONE))
    _same(found, weights)
    assert found.model.gelu == "tanh" and found.model.norm_eps == 1e-6
    folded = read_weights(tmp_path / "vit.npz")
    np.testing.assert_allclose(
        folded.tensors["patch_embed/kernel"], 2 * weights.tensors["patch_embed/kernel"], rtol=1e-6
    )

    pre = {"pre_logits/kernel": np.eye(32, dtype=np.float32), "pre_logits/bias": np.zeros(32, np.float32)}
    np.savez(tmp_path / "in21k.npz", **theirs, **pre)
    encoder = read_weights(tmp_path / "in21k.npz", known=Known(0, 0, _NONE, _ONE))
    _same(encoder, encoder_of(weights))
    assert "pre_logits/kernel" in encoder.notes[0] and "head/kernel" in encoder.notes[0]

    # big_vision's own spelling, and its table without a row for the class token.
    spelt = {}
    for name, tensor in theirs.items():
        for old, new in (("Transformer/posembed_input/pos_embedding", "pos_embedding"), ("MlpBlock_3", "MlpBlock_0"),
                         ("Attention_1/", "Attention_0/"), ("LayerNorm_2", "LayerNorm_1")):  # fmt: skip
            name = name.replace(old, new)
        spelt[f"params/{name}"] = tensor[:, 1:] if name == "pos_embedding" else tensor
    np.savez(tmp_path / "big.npz", **spelt)
    found = read_weights(tmp_path / "big.npz", known=Known(0, 0, _NONE, _ONE))
    np.testing.assert_array_equal(found.tensors["positions"][1:], weights.tensors["positions"][1:])
    assert not found.tensors["positions"][0].any()


def test_every_tensor_has_one_place_in_every_format(small_model):
    """Rules name each of our tensors once and each of theirs once, for every kind that a format holds."""
    for form in FORMATS:
        for kind in ("mae", "encoder", "classifier"):
            for pool in ("class", "mean"):
                try:
                    rules = rules_for(form, kind, pool)
                except ValueError:
                    continue
                ours = [name.format(n=0) for rule in rules for name in rule.ours]
                theirs = [rule.theirs for rule in rules]
                assert len(set(ours)) == len(ours) and len(set(theirs)) == len(theirs)
                expected = shapes_of(kind, replace(small_model, layers=1, pool=pool), 3)
                assert set(ours) == set(expected)


def test_what_a_format_cannot_hold_is_refused_by_name(small_model, make_weights, tmp_path):
    mae = make_weights("mae", small_model)
    for form in ("timm", "big_vision"):
        with pytest.raises(ValueError, match=r"holds no decoder|is not written"):
            write_weights(mae, tmp_path / "out", form)
    with pytest.raises(ConvertError, match="exact GELU and epsilon 1e-6, this model exact and 1e-12"):
        write_weights(make_weights("mae", replace(small_model, norm_eps=1e-12)), tmp_path / "out", "mae_pth")
    with pytest.raises(ValueError, match="huggingface holds no mean of tokens"):
        write_weights(make_weights("encoder", replace(small_model, pool="mean")), tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())


def test_the_encoder_of_an_mae(small_model, make_weights, tmp_path):
    mae = make_weights("mae", small_model)
    encoder = check(encoder_of(mae))
    assert encoder.kind == "encoder" and "decoder is left out" in encoder.notes[-1]
    write_weights(encoder, tmp_path / "out", "huggingface")
    assert read_card(tmp_path / "out").kind == "encoder"
    _same(read_weights(tmp_path / "out"), encoder)


def test_a_pth_of_ours_says_what_was_trained(small_model, make_weights, tmp_path):
    """model.pth alone, without radmae.json: mask ratio and norm_pix are in its arguments, as the original MAE's."""
    weights = make_weights("mae", replace(small_model, mask_ratio=0.6), norm_pix=True)
    write_weights(weights, tmp_path / "out", "mae_pth")
    (tmp_path / "out/radmae.json").unlink()
    found = read_weights(tmp_path / "out/model.pth", known=Known(4, 2))
    _same(found, weights)
    assert (found.norm_pix, found.model.mask_ratio) == (True, 0.6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_shorter_floats_are_widened(dtype, small_model, make_weights, tmp_path):
    import torch
    from safetensors.torch import save_file

    weights = make_weights("encoder", small_model)
    short = {name: torch.from_numpy(x).to(getattr(torch, dtype)) for name, x in theirs_of(weights, "timm").items()}
    save_file(short, tmp_path / "short.safetensors")
    torch.save(short, tmp_path / "short.bin")
    for file in ("short.safetensors", "short.bin"):
        found = read_weights(tmp_path / file, known=Known(heads=4))
        for name, tensor in weights.tensors.items():
            expected = torch.from_numpy(tensor).to(getattr(torch, dtype)).float().numpy()
            np.testing.assert_array_equal(found.tensors[name], expected)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"pretrained_cfg": {"mean": [0.1], "std": [0.5], "input_size": [1, 48, 48]}}, ""),
        ({"global_pool": "token", "model_args": {"img_size": 48}}, ""),
        ({"global_pool": "avg"}, "global_pool 'avg', and its tensors hold pooling 'class'"),
        ({"model_args": {"global_pool": "max"}}, "global_pool 'max'"),
        ({"model_args": {"img_size": [24, 96]}}, r"img_size is \[24, 96\]; the tensors .* have 48"),
        ({"pretrained_cfg": {"mean": 0.5}}, "mean is 0.5; it must be a list of numbers"),
        ({"pretrained_cfg": None}, "pretrained_cfg is None; it must be an object"),
        ({"pretrained_cfg": {"input_size": 224}}, "input_size is 224"),
        ({"model_args": {"num_heads": 8}}, "config has heads 8; 4 was said"),
        ({"model_args": {"patch_size": 16}}, "patch_size is 16; the tensors"),
        ({"model_args": {"norm_layer": "rmsnorm"}}, "model_args has norm_layer, which models here do not have"),
        ({"model_args": {"act_layer": "relu"}}, "act_layer is 'relu'"),
        ({"num_classes": 7}, "num_classes is 7; the head has 2"),
        ({"pretrained_cfg": {"label_names": ["a"]}}, "label_names is .*; it must be 2 texts"),
    ],
)
def test_timms_configuration_is_held_to(config, message, small_model, make_weights, tmp_path):
    import json

    weights = make_weights("classifier", small_model, ("class 0", "class 1"))
    write_safetensors(tmp_path / "model.safetensors", theirs_of(weights, "timm"))
    (tmp_path / "config.json").write_text(json.dumps(config))
    if message:
        with pytest.raises(ConvertError, match=message.replace("config has", f"{tmp_path.name} has")):
            read_weights(tmp_path, known=Known(heads=4))
        return
    found = read_weights(tmp_path, known=Known(heads=4))
    scaled = "pretrained_cfg" in config
    assert any("mean 0.1, deviation 0.5" in note for note in found.notes) == scaled
    np.testing.assert_array_equal(found.tensors["head/kernel"], weights.tensors["head/kernel"])


def test_timms_own_words_are_taken(small_model, make_weights, tmp_path):
    import json

    write_safetensors(
        tmp_path / "model.safetensors", theirs_of(make_weights("classifier", small_model, ("a", "b")), "timm")
    )
    config = {"model_args": {"num_heads": 4, "act_layer": "gelu_tanh"}, "label_names": ["left", "right"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_weights(tmp_path)
    assert (found.classes, found.model.gelu, found.model.heads) == (("left", "right"), "tanh", 4)


def test_what_pixels_were_survives_without_our_own_file(small_model, make_weights, tmp_path):
    weights = make_weights("encoder", small_model)
    write_weights(weights, tmp_path / "out", "huggingface")
    (tmp_path / "out/radmae.json").unlink()
    assert read_weights(tmp_path / "out").pixels == weights.pixels


def test_a_mae_that_hides_nothing_has_no_loss_to_compare(small_model, make_weights, tmp_path):
    from radmae_jax.convert.verify import verify

    write_weights(make_weights("mae", replace(small_model, mask_ratio=0.0)), tmp_path / "out", "radmae")
    verdict = verify(tmp_path / "out")
    assert verdict.passed and set(verdict.limits) == {"encoded", "prediction"}


def test_texts_are_written_as_utf_8_whatever_the_locale(small_model, make_weights, tmp_path, monkeypatch):
    import locale

    monkeypatch.setattr(locale, "getencoding", lambda: "ascii")
    weights = make_weights("classifier", small_model, ("gebrochen\n# nein", "gänzlich"))
    write_weights(weights, tmp_path / "out", "huggingface")
    assert read_weights(tmp_path / "out").classes == weights.classes
    assert "gebrochen # nein, gänzlich" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
