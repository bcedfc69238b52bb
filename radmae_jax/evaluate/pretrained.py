"""A run, or one of its checkpoints, to the model it trained, ready for use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Config, Data, Loss, Task
from radmae_jax.convert.exported import CARD
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.weights import to_variables
from radmae_jax.evaluate.classified import TrainedClassifier
from radmae_jax.evaluate.one_image import batch_of, read_pixels
from radmae_jax.model import classifier, mae
from radmae_jax.train.classification import head_sizes
from radmae_jax.train.panels import Panel, panels_of
from radmae_jax.train.reconstruction import make_predict
from radmae_jax.train.saved import Saved, read_run


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained MAE; `model.apply({"params": params, "tables": tables}, patches, grid, extent, noise)` runs it."""

    model: mae.MAE
    params: dict[str, Any]
    tables: dict[str, Any]
    config: Config
    step: int

    def read(self, path: str | Path) -> np.ndarray:
        """An image file's pixels [H, W] as this model was trained to see them."""
        return read_pixels(path, self.config)

    def reconstruct(self, images: list[np.ndarray], names: list[str] | None = None) -> list[Panel]:
        """Hides and predicts patches of images [H, W] of any sizes; image i is masked as record i, so always alike."""
        model = self.config.model
        names = names or [f"image {i}" for i in range(len(images))]
        predict = jax.jit(make_predict(self.model, self.config.loss, self.config.train.seed))
        panels = []
        for at, image in enumerate(images):
            batch = batch_of(image, self.config, record=at)
            panels += panels_of(
                predict, self.params, self.tables, batch, model.patch, model.channels, names[at : at + 1]
            )
        return panels


def load(path: str | Path, step: int | str = "latest") -> Pretrained | TrainedClassifier:
    """The model of a run, or of an exported directory, as what it was trained to be.

    Args:
      path: a work directory, its folder `checkpoints`, the folder of one step in there, or what `radmae convert` wrote.
      step: of a run: a saved step, "latest", or "best" by validation.

    Raises CheckpointError where there is no such checkpoint or its bits have changed, ConvertError where those of an
    exported directory have, FileNotFoundError where there is neither.
    """
    if (Path(path) / CARD).exists():
        if step != "latest":
            raise ValueError(f"step {step!r}: {path} is exported, of one step")
        saved = _exported(Path(path))
    elif (Path(path) / "model.safetensors").exists() or Path(path).is_file():
        raise ValueError(f"{path} is no run and was not exported here: `radmae convert {path} OUT` makes OUT to load")
    else:
        saved = read_run(path, step)
    if saved.config.task.kind == "classify":
        model = classifier.build(saved.config.model, sum(head_sizes(saved.config)))
        return TrainedClassifier(model, saved.params, saved.config, saved.step)
    return Pretrained(mae.build(saved.config.model), saved.params, saved.tables, saved.config, saved.step)


def _exported(folder: Path) -> Saved:
    """An exported model with what of its configuration the directory tells."""
    weights = read_weights(folder)
    if weights.kind == "encoder":
        raise ValueError(f"{folder} holds an encoder alone: it neither reconstructs nor classifies")
    variables = to_variables(weights)
    config = Config(
        data=Data(intensity=weights.pixels.intensity or "voi", dtype=weights.pixels.dtype),
        model=weights.model,
        task=Task("classify", ("exported",), (weights.classes,)) if weights.kind == "classifier" else Task(),
        loss=Loss(norm_pix=weights.norm_pix),
    )
    step = weights.recipe.get("optimizer steps", 0)
    return Saved(config, step if isinstance(step, int) else 0, variables["params"], variables.get("tables", {}), {})
