"""The same numbers as transformers 5.x: max |d| / max |reference|, float32, the same noise."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from radmae_jax.config import Loss, Model
from radmae_jax.convert import in_torch
from radmae_jax.convert.exported import write_weights
from radmae_jax.convert.files import read_safetensors
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.goldens import from_tensors, run
from radmae_jax.convert.weights import to_variables
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.model import mae
from radmae_jax.model.size import Size
from radmae_jax.model.vit import Block, Compute
from radmae_jax.train.losses import error_sums


def _distance(found, reference) -> float:
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape
    return float(np.abs(found - reference).max() / np.abs(reference).max())


# Twelve layers of a Ti, so that rounding has the depth to grow in; a small decoder.
_TI = Model(
    variant="Ti", decoder_width=64, decoder_layers=2, decoder_heads=4, patch=16, table_side=5, dtype="float32"
)  # fmt: skip
_HF = {"resample": "bicubic", "decoder_positions": "hf_flat", "norm_eps": 1e-12}


@pytest.mark.parametrize(
    "kind, change",
    [
        ("mae", {}),
        ("mae", {"patch": 48, "channels": 3, "table_side": 4, **_HF}),
        ("mae", {"channels": 3, "gelu": "tanh"}),
        ("classifier", {"patch": 48, "table_side": 4}),
        ("classifier", {"channels": 3, **_HF}),
        ("encoder", {}),
    ],
)
def test_exports_compute_the_same_in_transformers(kind, change, make_weights, tmp_path):
    weights = make_weights(kind, replace(_TI, **change), ("a", "b", "c") if kind == "classifier" else ())
    write_weights(weights, tmp_path / "out", "huggingface")
    # Native and square, not square, and a size that patches stick out of and are padded.
    goldens = from_tensors(read_safetensors(tmp_path / "out/goldens.safetensors"))
    limits = {"encoded": 2e-5, "tokens": 2e-5, "pooled": 2e-5, "logits": 1e-4, "prediction": 1e-4, "loss": 2e-6}
    for golden, outputs in zip(
        goldens, in_torch.run_all("transformers", tmp_path / "out", weights, goldens), strict=True
    ):
        for name, reference in outputs.items():
            assert _distance(golden.outputs[name], reference) < limits[name], (golden.name, name)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_the_training_loss_of_padded_rows_is_hugging_faces(norm_pix, make_weights, tmp_path):
    """Whole patches, in a bucket of more tokens and beside another image: what training computes."""
    model = replace(_TI, **_HF)
    weights = make_weights("mae", model, norm_pix=norm_pix)
    write_weights(weights, tmp_path / "out", "huggingface")
    hf = transformers.ViTMAEForPreTraining.from_pretrained(tmp_path / "out").eval()
    image = np.random.default_rng(0).integers(0, 65536, (64, 112), dtype=np.uint16)
    batch = empty_batch(2, 40, 16, 1, "uint16")
    put_image(batch, 0, image, (4, 7), 16)
    put_image(batch, 1, image[:30, :40], (2, 3), 16)
    built, variables = mae.build(model), to_variables(weights)
    noise = np.random.default_rng(1).random((2, 40), np.float32)
    out = jax.jit(built.apply)(variables, batch.patches, batch.grid, batch.extent, noise)
    loss = Loss(norm_pix=norm_pix, variance_floor=0.0)
    total, count = error_sums(out, batch.patches, batch.grid, batch.extent, built.shape, loss)
    pixels = torch.from_numpy(image.astype(np.float32) / 65535)[None, None]
    with torch.no_grad():
        theirs = hf(pixels, noise=torch.from_numpy(noise[:1, :28]), interpolate_pos_encoding=True)
    np.testing.assert_array_equal(np.asarray(out.masking.masked[0, :28]), theirs.mask[0].numpy() == 1)
    assert _distance(out.prediction[0, :28], theirs.logits[0]) < 1e-4
    assert abs(float(total[0] / count[0]) / float(theirs.loss) - 1) < 2e-6


def test_one_block_is_transformers_block():
    config = transformers.ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, layer_norm_eps=1e-6)
    theirs = transformers.models.vit.modeling_vit.ViTLayer(config).eval()
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    names = {
        "norm1": "layernorm_before", "norm2": "layernorm_after", "query": "attention.q_proj", "key": "attention.k_proj",
        "value": "attention.v_proj", "out": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
    }  # fmt: skip
    params = {}
    for ours, name in names.items():
        weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
        params[ours] = {"scale": weight, "bias": bias} if "norm" in ours else {"kernel": weight.T, "bias": bias}
    assert not state
    x = np.random.default_rng(0).normal(size=(2, 37, 192)).astype(np.float32)
    block = Block(Size(192, 1, 3), Compute(norm_eps=1e-6))
    found, _ = block.apply({"params": params}, x, jnp.full(2, 37, jnp.int32))
    with torch.no_grad():
        reference = theirs(torch.from_numpy(x))
    assert _distance(found, reference[0] if isinstance(reference, tuple) else reference) < 5e-6


def test_bfloat16_stays_within_its_rounding(make_weights, tmp_path):
    """Bounds: predictions 4e-2, loss 5e-3 of float32's; transformers in bfloat16 is held to the same."""
    weights = make_weights("mae", replace(_TI, **_HF))
    write_weights(weights, tmp_path / "out", "huggingface")
    golden = from_tensors(read_safetensors(tmp_path / "out/goldens.safetensors"))[0]
    model = replace(weights.model, dtype="bfloat16")
    batch = empty_batch(1, 25, 16, 1, "uint16")
    put_image(batch, 0, golden.pixels, (5, 5), 16)
    built = mae.build(model)
    apply = jax.jit(lambda v: built.apply(v, batch.patches, batch.grid, batch.extent, golden.noise[None]))
    out = apply(to_variables(weights))
    total, count = error_sums(out, batch.patches, batch.grid, batch.extent, built.shape, Loss())
    hf = transformers.ViTMAEForPreTraining.from_pretrained(tmp_path / "out", dtype=torch.bfloat16).eval()
    pixels = torch.from_numpy(golden.pixels.astype(np.float32) / 65535)[None, None].bfloat16()
    with torch.no_grad():
        theirs = hf(pixels, noise=torch.from_numpy(golden.noise)[None], interpolate_pos_encoding=True)
    for prediction, loss in (
        (out.prediction[0], float(total[0] / count[0])),
        (theirs.logits[0].float(), float(theirs.loss)),
    ):
        assert 1e-4 < _distance(prediction, golden.outputs["prediction"]) < 4e-2
        assert abs(loss / float(golden.outputs["loss"]) - 1) < 5e-3


@pytest.mark.parametrize("name", ["ViTMAEForPreTraining", "ViTForImageClassification", "ViTModel"])
def test_what_transformers_saves_is_read(name, tmp_path):
    """Models of transformers' own initialiser, saved by it (5.x names), with the pixel scaling of its processor."""
    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, image_size=64)
    decoder = dict(
        decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=128, norm_pix_loss=True,
    )  # fmt: skip
    is_mae = name == "ViTMAEForPreTraining"
    config = transformers.ViTMAEConfig(**sizes, **decoder) if is_mae else transformers.ViTConfig(**sizes, num_labels=5)
    torch.manual_seed(0)
    theirs = getattr(transformers, name)(config).eval()
    for parameter in theirs.parameters():  # biases and, in 5.x, position tables begin at zero
        torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path / "hf")
    # Channels scaled alike leave a patch's normalised pixels, the MAE's targets here, as they are.
    mean, std = ([0.4] * 3, [0.25] * 3) if is_mae else ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    processor = {"image_mean": mean, "image_std": std, "rescale_factor": 1 / 255}
    (tmp_path / "hf/preprocessor_config.json").write_text(json.dumps(processor))
    weights = read_weights(tmp_path / "hf")
    assert weights.kind == {"ViTModel": "encoder", "ViTForImageClassification": "classifier"}.get(name, "mae")
    rng = np.random.default_rng(0)
    pixels, noise = rng.integers(0, 256, (48, 80), dtype=np.uint8), rng.random(15, np.float32)
    found = run(weights, pixels, noise if is_mae else np.empty(0, np.float32))
    unit = torch.from_numpy(pixels.astype(np.float32) / 255)[None, None].repeat(1, 3, 1, 1)
    scaled = (unit - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    options = {"noise": torch.from_numpy(noise)[None]} if is_mae else {}
    with torch.no_grad():
        out = theirs(scaled, interpolate_pos_encoding=True, **options)
    if is_mae:
        assert _distance(found["prediction"], out.logits[0]) < 1e-4
        assert abs(float(found["loss"]) / float(out.loss) - 1) < 1e-4  # 1e-6 is added to variances of another scale
    elif name == "ViTModel":
        assert _distance(found["tokens"], out.last_hidden_state[0]) < 2e-5
        assert any("pooler" in note for note in weights.notes)
    else:
        assert _distance(found["logits"], out.logits[0]) < 1e-4
        assert len(weights.classes) == 5
    assert any("folded" in note for note in weights.notes)
