"""A run to where it comes from: settings, hashes, seed, the command, versions of packages."""

import platform
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version

from radmae_jax.config import Config
from radmae_jax.evaluate.report.gather import Run, file_name, without_folders

_PACKAGES = (
    "radmae-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy", "pydicom",
    "imagecodecs", "pillow",
)  # fmt: skip
_PATHS = ("data.manifest", "data.root", "data.split", "train.start", "train.continue_from")
_COMMANDS = {"reconstruct": "pretrain", "classify": "finetune"}


@dataclass(frozen=True)
class Origin:
    """Where a run comes from."""

    facts: list[tuple[str, str]]
    command: str  # that makes such a run, from a config of defaults
    settings: str  # config.json, without folders
    hashes: list[tuple[str, str]]


def origin_of(run: Run) -> Origin:
    """The provenance of one run."""
    train = run.settings.get("train", {})
    facts = [("Seed", str(train.get("seed", "not recorded")))]
    facts.append(("Steps done", f"{run.history.steps:,}"))
    facts.append(("Checkpoints", ", ".join(f"{step:,}" for step in run.saved) or "none kept"))
    for name, words in (
        ("lengths", "Buckets, tokens"),
        ("steps_per_epoch", "Steps an epoch"),
        ("intensity", "Grey values"),
    ):
        if name in run.premises:
            value = run.premises[name]
            facts.append((words, ", ".join(f"{n:,}" for n in value) if isinstance(value, list) else str(value)))
    hashes = [(words, str(run.premises[name])) for name, words in _HASHES if run.premises.get(name)]
    return Origin(facts, _command(run), without_folders(run.settings), hashes)


_HASHES = (("manifest", "manifest"), ("split", "split"), ("codes", "labels of every record"))


def versions() -> list[tuple[str, str]]:
    """The packages on the machine that writes the page."""
    found = [("Python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _command(run: Run) -> str:
    """The command line that asks for the same settings; empty where this version cannot read them."""
    if run.config is None:
        return ""
    parts = [f"radmae {_COMMANDS.get(run.kind, 'pretrain')} --workdir {run.name} --config CONFIG"]
    default = Config()
    for section in fields(Config):
        own, usual = getattr(run.config, section.name), getattr(default, section.name)
        for field in fields(own):
            value = getattr(own, field.name)
            if value == getattr(usual, field.name):
                continue
            name = f"{section.name}.{field.name}"
            text = file_name(value) if name in _PATHS else str(value)
            text = f'"{text}"' if set(text) & set(" ()'") else text
            parts.append(f"  --config.{name}={text}")
    return " \\\n".join(parts)
