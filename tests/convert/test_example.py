"""What lies in an exported directory runs where neither jax nor this package can be imported."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from radmae_jax.convert.example import example_of
from radmae_jax.convert.exported import write_weights
from radmae_jax.convert.files import read_safetensors
from radmae_jax.convert.goldens import from_tensors

_RUN = """
import runpy, sys
import numpy as np, torch
for name in ("jax", "flax", "radmae_jax"):
    sys.modules[name] = None  # importing them fails from here on
example, image, noise, result = sys.argv[1:]
hidden = torch.from_numpy(np.load(noise))
torch.rand = lambda *shape, **options: hidden.reshape(shape)
sys.argv = [example, image]
sys.path.insert(0, example.rpartition("/")[0])  # as `python example.py` does
found = runpy.run_path(example, run_name="__main__")
np.savez(result, **{name: found[name].numpy() for name in ("prediction", "features", "logits") if name in found})
"""


@pytest.mark.parametrize(
    "form, kind, change",
    [
        ("huggingface", "mae", {}),
        ("huggingface", "mae", {"resample": "bicubic", "decoder_positions": "hf_flat", "channels": 3}),
        ("huggingface", "classifier", {"channels": 3}),
        ("huggingface", "encoder", {"gelu": "tanh"}),
        ("mae_pth", "mae", {}),
        ("mae_pth", "classifier", {"pool": "mean"}),
    ],
)
def test_the_example_computes_what_the_model_computes(form, kind, change, small_model, make_weights, tmp_path):
    classes = ("left", "no 'quote'") if kind == "classifier" else ()
    weights = make_weights(kind, replace(small_model, **change), classes)
    write_weights(weights, tmp_path / "out", form)
    golden = from_tensors(read_safetensors(tmp_path / "out/goldens.safetensors"))[1]
    assert golden.name == "partial"
    Image.fromarray(golden.pixels).save(tmp_path / "image.png")
    np.save(tmp_path / "noise.npy", golden.noise)
    arguments = [str(tmp_path / name) for name in ("out/example.py", "image.png", "noise.npy", "result.npz")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _RUN, *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={"PATH": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "result.npz")
    name = {"mae": "prediction", "encoder": "features", "classifier": "logits"}[kind]
    reference = golden.outputs[{"features": "tokens"}.get(name, name)]
    assert found[name].shape == reference.shape
    assert np.abs(found[name] - reference).max() < 1e-4 * np.abs(reference).max()
    if kind == "classifier":
        assert "left: 0." in done.stdout and "no 'quote': 0." in done.stdout


@pytest.mark.parametrize(
    "change, lines",
    [
        ({}, 2),  # encoder and decoder
        ({"resample": "bicubic"}, 1),  # transformers resizes the decoder's table as one flat line
        ({"resample": "bicubic", "decoder_positions": "hf_flat"}, 0),
    ],
)
def test_resizing_is_overridden_unless_the_model_was_trained_with_it(change, lines, small_model, make_weights):
    text = example_of(make_weights("mae", replace(small_model, **change)), "huggingface")
    assert text.count("interpolate_pos_encoding = lambda") == lines


def test_images_of_other_modes_are_read_as_grey_or_refused(small_model, make_weights, tmp_path):
    write_weights(make_weights("encoder", small_model), tmp_path / "out", "mae_pth")
    np.save(tmp_path / "noise.npy", np.empty(0, np.float32))
    stored = np.random.default_rng(0).integers(0, 256, (29, 52), dtype=np.uint8)
    grey, wide = Image.fromarray(stored), stored.astype(np.int32) * 257

    def run(name: str, image: Image.Image) -> np.ndarray | None:
        image.save(tmp_path / name)
        arguments = [str(tmp_path / file) for file in ("out/example.py", name, "noise.npy", "result.npz")]
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments], capture_output=True, cwd=tmp_path, env={"PATH": ""}
        )
        return None if done.returncode else np.load(tmp_path / "result.npz")["features"]

    expected = run("grey.png", grey)
    assert expected is not None
    for name, image in (("palette.png", grey.convert("P")), ("i.tiff", Image.fromarray(wide))):
        np.testing.assert_allclose(run(name, image), expected, atol=1e-5)
    assert run("float.tiff", Image.fromarray(wide.astype(np.float32))) is None
