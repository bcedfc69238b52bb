"""A configuration's task to what is trained."""

from radmae_jax.config import Config
from radmae_jax.train.classification import classification
from radmae_jax.train.objective import Objective
from radmae_jax.train.reconstruction import reconstruction


def objective_of(config: Config) -> Objective:
    """The objective of config.task; a classifier's classes must be resolved, as in a work directory's config.json."""
    return classification(config) if config.task.kind == "classify" else reconstruction(config)
