"""What lies in an exported directory runs where neither jax nor this package can be imported."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from radmae_jax.convert.example import example_of
from radmae_jax.convert.formats import write_weights
from radmae_jax.convert.goldens import run

_RUN = """
import runpy, sys
import numpy as np, torch
for name in ("jax", "flax", "radmae_jax"):
    sys.modules[name] = None  # importing them fails from here on
torch.manual_seed(0)
example, image, result = sys.argv[1:]
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
def test_the_example_computes_what_the_model_computes(form, kind, change, small, make_weights, tmp_path):
    classes = ("left", "no 'quote'") if kind == "classifier" else ()
    weights = make_weights(kind, replace(small, **change), classes)
    write_weights(weights, tmp_path / "out", form)
    pixels = np.random.default_rng(0).integers(0, 65536, (29, 52), dtype=np.uint16)  # no whole patches
    Image.fromarray(pixels).save(tmp_path / "image.png")
    arguments = [str(tmp_path / name) for name in ("out/example.py", "image.png", "result.npz")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _RUN, *arguments],
        capture_output=True, text=True, cwd=tmp_path, env={"PATH": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    noise = np.empty(0, np.float32)
    if kind == "mae":
        import torch

        torch.manual_seed(0)
        noise = torch.rand(1, 28)[0].numpy()
    expected = run(weights, pixels, noise)
    found = np.load(tmp_path / "result.npz")
    name = {"mae": "prediction", "encoder": "features", "classifier": "logits"}[kind]
    reference = expected[{"features": "tokens"}.get(name, name)]
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
def test_resizing_is_overridden_unless_the_model_was_trained_with_it(change, lines, small, make_weights):
    text = example_of(make_weights("mae", replace(small, **change)), "huggingface")
    assert text.count("interpolate_pos_encoding = lambda") == lines
