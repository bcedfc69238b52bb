"""Compares a run with the one that it continues: what must be equal, and what changed."""

import re
from dataclasses import dataclass
from typing import Any

from radmae_jax.config import Config
from radmae_jax.plain import short, to_dict
from radmae_jax.train.checkpoint import CheckpointError

# Fields of Premises by the setting that decides them; fields that are not here have no setting or have several.
_SETTINGS = {
    "task": "config.task.kind",
    "labels": "config.task.labels",
    "classes": "config.task.classes",
    "budget": "config.task.budget",
    "budget_seed": "config.task.budget_seed",
    "train_images": "config.data.train_images",
    "seed": "config.train.seed",
    "policy": "config.bins.policy",
    "pad_tokens": "config.bins.pad_tokens",
    "beyond": "config.bins.beyond",
    "group": "config.bins.group",
    "images_per_step": "config.train.images_per_step",
    "epochs": "config.train.epochs",
    "dtype": "config.data.dtype",
    "intensity": "config.data.intensity",
}
_FIXED = ("task", "labels", "classes", "patch", "model", "averaged")
_COUNTS = {"images": "images of the manifest", "training_images": "training images"}
# All else that the data schedule is a function of; where none of it changed, a position means the same in both runs.
_OF_THE_SCHEDULE = (
    "schedule_version", "seed", "manifest", "split", "policy", "pad_tokens", "beyond", "edges", "lengths", "group",
    "images_per_step", "steps_per_epoch", "train_images", "budget", "budget_seed", "codes",
)  # fmt: skip
_PATHS = {
    ("data", "manifest"), ("data", "root"), ("data", "split"), ("train", "checkpoints"), ("train", "start"),
    ("train", "continue_from"),
}  # fmt: skip
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Change:
    """A setting, hash or count that differs between the two runs; values as JSON has them."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {_text(self.before)} -> {_text(self.after)}"


def check_same_model(before: dict[str, Any], now: dict[str, Any], config: Config) -> None:
    """Raises CheckpointError naming the field and both values where another model, task or kind of state would go on.

    Args:
      before, now: premises of the run that is continued, completed, and of this one, plain.
    """
    remedy = "set it as that run has it, or begin with its weights alone (--init)"
    for field in ("task", "labels", "classes"):
        if before[field] != now[field]:
            own = " (empty: those of the training images)" if field == "classes" else ""
            raise CheckpointError(
                f"{_SETTINGS[field]}{own} is {short(now[field])}, the run that is continued has "
                f"{short(before[field])}; {remedy}"
            )
    for name, asked in now["model"].items():
        if before["model"].get(name) != asked:
            raise CheckpointError(
                f"config.model.{name} is {short(asked)}, the run that is continued has "
                f"{short(before['model'].get(name))}; {remedy}"
            )
    if before["averaged"] != now["averaged"]:
        has = "keeps a running mean of the parameters: set it above 0" if before["averaged"] else "keeps none: set it 0"
        raise CheckpointError(
            f"config.optim.ema is {config.optim.ema}, and the run that is continued {has}, or begin with its weights "
            "alone (--init)"
        )


def same_schedule(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether both runs have the same images at the same positions; premises as in `check_same_model`."""
    return all(before[field] == now[field] for field in _OF_THE_SCHEDULE)


def changes_between(
    before: dict[str, Any], now: dict[str, Any], settings_before: dict[str, Any] | None, config: Config
) -> tuple[Change, ...]:
    """What changed, of premises first, then of all other settings; paths are left out.

    Args:
      before, now: premises as in `check_same_model`.
      settings_before: config.json of the run that is continued; None where it cannot be read.
    """
    found: dict[str, Change] = {}
    settings_now = to_dict(config)
    for field in now:
        if field in _FIXED or field.startswith("origin_"):
            continue
        parts = [(_SETTINGS.get(field, field), before[field], now[field])]
        if field in _COUNTS:
            parts = [(_COUNTS[field], before[field] or None, now[field])]
        elif field == "loss":
            parts = [(f"config.loss.{name}", before["loss"].get(name), value) for name, value in now["loss"].items()]
        found |= {name: Change(name, old, new) for name, old, new in parts if old != new}
    for section, fields in (settings_before or {}).items():
        for name, old in fields.items():
            value, named = settings_now[section][name], f"config.{section}.{name}"
            if old != value and (section, name) not in _PATHS:
                found.setdefault(named, Change(named, old, value))
    return tuple(found.values())


def _text(value: Any) -> str:
    """A value for people: of a hash its first digits."""
    if value is None:
        return "not known"
    return value[:12] if isinstance(value, str) and _HASH.fullmatch(value) else short(value)
