"""A work directory to the model it trained."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from radmae_jax.config import Bins, Config, read_json
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.data.binning import make_table
from radmae_jax.data.images import downscale, read_image
from radmae_jax.model.mae import MAE, build
from radmae_jax.train import checkpoint, sharding
from radmae_jax.train.optim import make_optimizer
from radmae_jax.train.panels import Panel, make_predict, panels_of
from radmae_jax.train.state import init_state


@dataclass(frozen=True)
class Pretrained:
    """A trained MAE; `model.apply({"params": params, "tables": tables}, patches, grid, extent, noise)` runs it."""

    model: MAE
    params: dict
    tables: dict
    config: Config
    step: int

    def read(self, path: Path) -> np.ndarray:
        """An image file's pixels [H, W] as this model was trained to see them."""
        return read_image(Path(path), intensity=self.config.data.intensity, dtype=self.config.data.dtype)

    def reconstruct(self, images: list[np.ndarray], names: list[str] | None = None) -> list[Panel]:
        """Hides and predicts patches of images [H, W] of any sizes; image i is masked as record i, so always alike."""
        model = self.config.model
        names = names or [f"image {i}" for i in range(len(images))]
        predict = jax.jit(make_predict(self.model, self.config.loss, self.config.train.seed))
        panels = []
        for at, image in enumerate(images):
            heights, widths = np.array(image.shape)[:, None]
            table = make_table(self._bins(), model.patch, heights, widths)
            size = table.fit(heights, widths)
            rows, columns = table.grids(size[:, 0], size[:, 1])[0].tolist()
            image = downscale(image, (int(size[0, 0]), int(size[0, 1])))
            batch = empty_batch(1, rows * columns, model.patch, model.channels, self.config.data.dtype)
            put_image(batch, 0, image, (rows, columns), model.patch)
            batch.weight[0], batch.record[0] = 1.0, at
            panels += panels_of(
                predict, self.params, self.tables, batch, model.patch, model.channels, names[at : at + 1]
            )
        return panels

    def _bins(self) -> Bins:
        """Bins that treat an image as training did: what is beyond them made smaller, the poster's padding as part of
        it; else any size has its own."""
        bins = self.config.bins
        own_size = bins.pad_tokens == "masked" and bins.beyond != "downscale"
        return replace(bins, lengths=(), beyond="extra") if own_size else bins


def load(workdir: str | Path, step: int | str = "latest") -> Pretrained:
    """The model of a work directory.

    Args:
      step: a saved step, "latest", or "best" by validation loss.

    Raises CheckpointError where there is no such checkpoint or its bits have changed.
    """
    workdir = Path(workdir)
    if not (workdir / "config.json").exists():
        raise FileNotFoundError(f"{workdir} is no work directory of `radmae pretrain`: it has no config.json")
    config = read_json(workdir / "config.json")
    model = build(config.model)
    optimizer = make_optimizer(config.optim)
    shapes = jax.eval_shape(lambda: init_state(model, optimizer, config.train.seed))
    one = sharding.replicated(sharding.make_mesh(devices=jax.local_devices()[:1]))
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=one), shapes)
    with checkpoint.open_reader(workdir) as manager:
        chosen = _step(manager, step, workdir)
        state = checkpoint.restore(manager, abstract, chosen)
    return Pretrained(model, state.params, state.tables, config, chosen)


def _step(manager: ocp.CheckpointManager, step: int | str, workdir: Path) -> int:
    steps = manager.all_steps()
    if not steps:
        raise checkpoint.CheckpointError(f"{workdir} has no complete checkpoint")
    if step == "latest":
        return max(steps)
    if step == "best":
        best = manager.best_step()
        if best is None:
            raise checkpoint.CheckpointError(f"{workdir} has no checkpoint with a validation loss")
        return best
    if step not in steps:
        raise checkpoint.CheckpointError(f"{workdir} has no checkpoint of step {step}; it has {sorted(steps)}")
    return int(step)
