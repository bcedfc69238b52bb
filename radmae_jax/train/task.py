"""A configuration's task to what is trained."""

import numpy as np

from radmae_jax.config import Config
from radmae_jax.train.classification import classification
from radmae_jax.train.objective import Objective
from radmae_jax.train.reconstruction import reconstruction


def objective_of(config: Config, class_images: tuple[np.ndarray, ...] = ()) -> Objective:
    """The objective of config.task; a classifier's classes must be resolved, as in a work directory's config.json.

    class_images: see `classification`; training needs them.
    """
    if config.task.kind == "classify":
        return classification(config, class_images)
    return reconstruction(config)
