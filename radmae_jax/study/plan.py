"""A study file to its plan: arms, tasks, label budgets, seeds and learning rates, and the runs that these make."""

from dataclasses import dataclass, replace
from pathlib import Path

from radmae_jax.config import Config
from radmae_jax.config_checks import validate
from radmae_jax.config_file import find_config, run_file


@dataclass(frozen=True)
class Given:
    """What a study file is told on the command line."""

    manifest: str
    mae: str = ""  # the pre-training run
    imagenet: str = ""  # a file of weights of another program
    fewer: tuple[str, ...] = ()  # pre-training runs on fewer images, for the curve
    variant: str = ""  # of FILE:variant


@dataclass(frozen=True)
class Arm:
    """One way to begin, and the configuration that goes with it."""

    name: str
    kind: str  # random | mae | imagenet
    start: str  # weights; "" for random
    base: Config  # task, budget, seed and learning rate are put in for each run
    matched: bool  # whether all but the start is as in the other matched arms
    said: str  # what it is, in one line


@dataclass(frozen=True)
class Study:
    """Every combination of arm, task, budget and seed is one run; the learning rate is chosen on validation."""

    name: str
    tasks: tuple[tuple[str, str], ...]  # name and label column
    arms: tuple[Arm, ...]
    budgets: tuple[int, ...]  # labelled training images; ascending
    seeds: int  # 0 to seeds - 1: of initialisation, order, augmentation, and of which images are labelled
    learning_rates: tuple[float, ...]  # tried by every arm, task and budget with seed 0
    curve_tasks: tuple[str, ...] = ()  # of the curve over pre-training, at the largest budget
    fewer: tuple[str, ...] = ()  # pre-training runs on fewer images, points of that curve
    notes: tuple[str, ...] = ()  # what its readers must know of the archive

    def __post_init__(self):
        for name in ("tasks", "arms", "budgets", "learning_rates"):
            if not getattr(self, name):
                raise ValueError(f"study {self.name}: {name} is empty")
        for kind, names in (("arm", [a.name for a in self.arms]), ("task", [name for name, _ in self.tasks])):
            if len(set(names)) < len(names):
                raise ValueError(f"study {self.name}: {kind} names {names} are not distinct")
        if list(self.budgets) != sorted(set(self.budgets)) or self.budgets[0] < 1:
            raise ValueError(f"study {self.name}: budgets {self.budgets} must be positive and ascending")
        if self.seeds < 1:
            raise ValueError(f"study {self.name}: seeds is {self.seeds}; at least 1")
        for arm in self.arms:
            if bool(arm.start) != (arm.kind != "random"):
                raise ValueError(f"study {self.name}: arm {arm.name} of kind {arm.kind!r} has start {arm.start!r}")
            if arm.base.train.checkpoints:  # one place for runs that each have their own
                raise ValueError(
                    f"study {self.name}: arm {arm.name} has config.train.checkpoints {arm.base.train.checkpoints!r}; "
                    "a study's runs keep theirs in its folder"
                )


@dataclass(frozen=True)
class Run:
    """One fine-tuning of a study."""

    arm: Arm
    task: str
    label: str
    budget: int
    seed: int
    learning_rate: float

    @property
    def folder(self) -> Path:
        """Where it is kept, in the study's folder."""
        place = Path("runs") / self.task / self.arm.name / f"n{self.budget}"
        return place / f"seed{self.seed}-lr{self.learning_rate:g}"

    def config(self) -> Config:
        """Its configuration: the arm's, with what the study varies put in."""
        base, rate = self.arm.base, self.learning_rate
        constant = base.optim.end_learning_rate == base.optim.learning_rate
        end = rate if constant else base.optim.end_learning_rate
        return validate(
            replace(
                base,
                task=replace(base.task, labels=(self.label,), budget=self.budget, budget_seed=self.seed),
                optim=replace(base.optim, learning_rate=rate, end_learning_rate=end),
                train=replace(base.train, seed=self.seed, start=self.arm.start, arm=self.arm.kind),
            )
        )


def read_study(name: str, given: Given) -> Study:
    """The Study that get_study(given) of FILE[:variant] returns; names are found as those of --config."""
    name, _, variant = name.partition(":")
    path = find_config(name)
    module = run_file(path)
    if not hasattr(module, "get_study"):
        raise ValueError(f"{path} is no study: it has no get_study(given)")
    return module.get_study(replace(given, variant=variant))
