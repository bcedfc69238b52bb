"""Pre-training runs to what they had seen, and to the arms of the curve over pre-training."""

from dataclasses import dataclass
from pathlib import Path

from radmae_jax.data.dataset import open_archive
from radmae_jax.study.plan import Arm, Study
from radmae_jax.train.saved import checkpoints_of, chosen_step, is_run, read_run, workdir_of


@dataclass(frozen=True)
class Pretraining:
    """What an arm's pre-training run had seen when its weights were taken."""

    steps: int
    images_seen: int  # with repetitions
    images: int | None  # different ones; None where the archive is gone


def pretraining_of(path: str) -> Pretraining | None:
    """How far the run at a path was trained; None of other weights."""
    if not path or not is_run(path):
        return None
    saved = read_run(path)
    config = saved.config
    begun = saved.premises.get("origin_step", 0)  # steps of the runs that it continues
    before = saved.continued.get("images_seen") if begun else 0
    before = begun * config.train.images_per_step if before is None else before
    try:
        images = len(open_archive(config).records("train"))
    except (OSError, ValueError):
        return Pretraining(saved.step, before + (saved.step - begun) * config.train.images_per_step, None)
    an_epoch = images / saved.premises["steps_per_epoch"]
    return Pretraining(saved.step, before + round((saved.step - begun) * an_epoch), images)


def pretrained_arm(study: Study) -> Arm:
    """The arm whose pre-training the curve is over: the first of kind mae."""
    arm = next((arm for arm in study.arms if arm.kind == "mae"), None)
    if arm is None:
        raise ValueError(f"study {study.name}: the curve is over pre-training, and no arm of kind mae takes part")
    if not is_run(arm.start):
        raise ValueError(f"study {study.name}: the curve needs a run with several checkpoints; arm {arm.name} has none")
    return arm


def curve_arms(study: Study) -> list[Arm]:
    """The pre-trained arm begun from each earlier checkpoint of its run, and from runs on fewer images."""
    whole = pretrained_arm(study)
    work, end = workdir_of(whole.start).resolve(), chosen_step(whole.start)
    folder = Path(checkpoints_of(work))
    if not folder.is_dir():
        raise ValueError(f"study {study.name}: the checkpoints of {work} are in no folder here, which the curve needs")
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    arms = [_from(whole, f"{whole.name}@{step}", folder / str(step)) for step in steps if step < end]
    for path in study.fewer:
        if not is_run(path):
            raise ValueError(f"--fewer {path} is no run")
        arms.append(_from(whole, f"{whole.name}-{workdir_of(path).resolve().name}", Path(path)))
    names = [arm.name for arm in (*study.arms, *arms)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"study {study.name}: two points of the curve would be named {twice[0]}: rename a --fewer run")
    return arms


def _from(arm: Arm, name: str, path: Path) -> Arm:
    return Arm(name, arm.kind, str(path), arm.base, arm.matched, arm.said)
