"""A study's plan to what it stands on, refused in seconds where a run would fail after hours."""

from dataclasses import replace

from radmae_jax.config import Config, Task
from radmae_jax.data.binning import make_table
from radmae_jax.data.dataset import Archive, open_archive
from radmae_jax.study.basis import Ground, Start, ground_of, start_of
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.study.pretraining import curve_arms
from radmae_jax.train.start import prove_start, read_start


def with_lengths(study: Study) -> Study:
    """The study with one table of lengths an arm, fitted to the whole archive: runs then share their programs, which a
    table fitted to each run's few labelled images would not allow."""
    return replace(study, arms=tuple(replace(arm, base=_with_lengths(arm.base)) for arm in study.arms))


def check_study(study: Study, side: str, curve: bool) -> tuple[dict[str, Ground], dict[str, Start]]:
    """By arm, those of the curve included, the archive and the weights that it begins with.

    Every task is opened with its largest budget, and every start read. Raises ValueError for labels, budgets or sides
    that the archive does not have; ConvertError for weights that do not fit; LeakageError for weights that were trained
    on test patients.
    """
    grounds, starts = {}, {}
    for arm in (*study.arms, *(curve_arms(study) if curve else ())):
        archive = None
        for task, label in study.tasks:
            archive = _open(arm, task, label, study.budgets[-1], side, study.name)
        assert archive is not None
        config = Run(arm, *study.tasks[0], study.budgets[-1], 0, study.learning_rates[0]).config()
        if arm.start:
            prove_start(arm.start, archive)
            read_start(arm.start, config)
        grounds[arm.name] = ground_of(archive, [label for _, label in study.tasks])
        starts[arm.name] = start_of(arm.start)
    return grounds, starts


def _open(arm: Arm, task: str, label: str, budget: int, side: str, study: str) -> Archive:
    archive = open_archive(Run(arm, task, label, budget, 0, 1e-3).config())
    for needed in ("validation", side):
        if not len(archive.records(needed)):
            raise ValueError(f"study {study}, task {task}: no image of the {needed} side has a known {label}")
    return archive


def _with_lengths(config: Config) -> Config:
    if config.bins.policy != "tokens" or config.bins.lengths:
        return config
    manifest = open_archive(replace(config, task=Task())).manifest
    table = make_table(config.bins, config.model.patch, manifest.heights, manifest.widths)
    return replace(config, bins=replace(config.bins, lengths=table.lengths))
