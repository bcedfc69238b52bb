"""What a run of a study rests on, without a path: what moved is the same still, what changed is not taken for it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radmae_jax.config import Config
from radmae_jax.data.dataset import Archive
from radmae_jax.figures import to_json
from radmae_jax.plain import differences, from_dict, to_dict
from radmae_jax.study.plan import Run
from radmae_jax.train import checkpoint
from radmae_jax.train.bits import digest_of
from radmae_jax.train.saved import checkpoints_of, chosen_step, is_run, workdir_of

_FILE = "basis.json"  # in a run's folder, written before it is trained


@dataclass(frozen=True)
class Start:
    """Weights that an arm begins with."""

    step: int | None  # of a run; None of other weights
    content: str  # sha256 of a file's bytes, or of the bit sums of a run's checkpoint; "" of nothing


@dataclass(frozen=True)
class Ground:
    """Hashes of an archive, as far as results depend on it."""

    manifest: str
    split: str
    labels: dict[str, str]  # of the values of each label, which the manifest's hash does not cover


def ground_of(archive: Archive, labels: Iterable[str]) -> Ground:
    """The hashes of an opened archive."""
    table = archive.manifest.table
    values = {label: "\0".join(value or "" for value in table[label].to_pylist()) for label in labels}
    hashed = {label: hashlib.sha256(text.encode()).hexdigest() for label, text in values.items()}
    return Ground(archive.manifest.hash, archive.split.hash, hashed)


def start_of(path: str) -> Start:
    """What lies at a path that an arm begins with."""
    if not path:
        return Start(None, "")
    if not is_run(path):
        files = [Path(path)] if Path(path).is_file() else sorted(p for p in Path(path).rglob("*") if p.is_file())
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return Start(None, digest.hexdigest())
    step = chosen_step(path)
    with checkpoint.open_reader(checkpoints_of(workdir_of(path)), lambda figures: 0.0) as manager:
        sums = checkpoint.read_bit_sums(manager, step)
    return Start(step, digest_of(sums))


def check_basis(run: Run, folder: Path, ground: Ground, start: Start) -> None:
    """Writes what a run rests on beside it, or compares with what is there.

    Raises ValueError naming the first difference.
    """
    config = _without_paths(run.config())
    rests_on = {
        "manifest": ground.manifest,
        "split": ground.split,
        f"values of {run.label}": ground.labels[run.label],
        "weights it begins with": start.content,
    }
    path = folder / _FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json({"config": to_dict(config), "rests_on": rests_on}, indent=1) + "\n")
        return
    stored = json.loads(path.read_text())
    changed = differences(from_dict(Config, stored["config"]), config)
    changed += [
        f"{name}: {_short(stored['rests_on'].get(name))} -> {_short(now)}"
        for name, now in rests_on.items()
        if stored["rests_on"].get(name) != now
    ]
    if changed:
        raise ValueError(f"{run.folder} was made with other settings ({changed[0]}): use another --workdir")


def _without_paths(config: Config) -> Config:
    return replace(
        config,
        data=replace(config.data, manifest="", root="", split=""),
        train=replace(config.train, start="", continue_from=""),
    )


def _short(digest: Any) -> str:
    return repr(str(digest)[:12]) if digest else "none"
