"""Eight phantoms with fixed masks are learned by heart: loss, gradients and optimizer pull in one direction."""

import jax
import numpy as np

from radmae_jax.config import Config, Loss, Model, Optim, Train
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.data.phantom import REGIONS, render_phantom
from radmae_jax.model.patches import mask_noise, mask_tokens
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.programs import compile_programs
from radmae_jax.train.reconstruction import reconstruction

PATCH, LENGTH, STEPS = 16, 48, 500


def test_eight_images_are_learned():
    model = Model(
        variant="custom", width=96, layers=3, heads=4, decoder_width=96, decoder_layers=2, decoder_heads=4,
        patch=PATCH, table_side=8, dtype="float32",
    )  # fmt: skip
    config = Config(
        model=model, loss=Loss(), optim=Optim(learning_rate=2e-3, warmup_epochs=0.2, weight_decay=0.0),
        train=Train(epochs=10),
    )  # fmt: skip
    batch = empty_batch(8, LENGTH, PATCH, 1, "uint16")
    images = []
    for row in range(8):
        height, width = (70, 100) if row % 2 else (110, 81)
        image = (render_phantom(REGIONS[row], height, width, row).image * 65535).astype(np.uint16)
        put_image(batch, row, image, (-(-height // PATCH), -(-width // PATCH)), PATCH)
        batch.weight[row], batch.record[row] = 1.0, row
        images.append(image / 65535)

    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    plan = make_blueprint(config, reconstruction(config), mesh, (LENGTH,), (8,), STEPS // 10)
    programs = compile_programs(plan, {0}, set())
    state, gathered = programs.init(), programs.empty()
    on_device = sharding.to_global(batch, sharding.rows(mesh))
    losses = []
    for _ in range(STEPS):
        gathered = programs.accumulate[0].call(state.params, state.tables, gathered, on_device)
        state, gathered, report = programs.apply.call(state, gathered)
        losses.append(report.numerator.sum() / report.denominator.sum())

    # What predicting each image's own mean would score on the same hidden pixels.
    count = batch.grid.prod(axis=1).astype(np.int32)
    hidden = np.asarray(mask_tokens(mask_noise(0, batch.epoch, batch.record, LENGTH), count, 0.75).masked)
    squares, pixels = 0.0, 0
    for row, image in enumerate(images):
        rows, columns = batch.grid[row]
        cover = np.kron(hidden[row, : rows * columns].reshape(rows, columns), np.ones((PATCH, PATCH))) > 0
        chosen = (image - image.mean())[cover[: image.shape[0], : image.shape[1]]]
        squares, pixels = squares + float((chosen**2).sum()), pixels + len(chosen)
    assert pixels == int(report.denominator.sum())
    assert float(losses[-1]) < 0.1 * squares / pixels, (float(losses[-1]), squares / pixels)
