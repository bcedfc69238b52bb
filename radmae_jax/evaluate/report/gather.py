"""A work directory to what lies in it: runs, studies and the manifest they read, as plain data; nothing is written."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radmae_jax.config import Config
from radmae_jax.config_checks import read_json
from radmae_jax.data.splits import SIDES
from radmae_jax.evaluate.report.contract import missing_of_evaluation, missing_of_study
from radmae_jax.evaluate.report.history import History, read_history
from radmae_jax.figures import to_json

_STARTS = (("train", "start"), ("train", "continue_from"))  # settings that name what a run began with
_ARMS = ("mae", "imagenet", "random")  # which of a study's runs stands for all: the first of these arms there is


@dataclass(frozen=True, eq=False)
class Run:
    """What a pre-training or fine-tuning run left behind."""

    name: str  # of its folder; of one of a study the folders below runs/
    folder: Path
    kind: str  # reconstruct | classify
    settings: dict[str, Any]  # config.json as it stands
    config: Config | None  # None where this version cannot read it
    history: History
    panels: tuple[Path, ...]  # pictures of reconstructions, by step
    evaluations: dict[str, dict[str, Any]]  # side to evaluation/SIDE.json
    start: tuple[str, ...]  # what it began with
    premises: dict[str, Any]  # of its newest checkpoint: hashes, bucket table; {} where there is none
    saved: tuple[int, ...]  # steps of its checkpoints
    continued: dict[str, Any] = field(default_factory=dict)  # of a run that continues another: its continued.json

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of a classifier, by its settings."""
        return tuple(map(str, self.settings.get("task", {}).get("labels", ())))


@dataclass(frozen=True, eq=False)
class Study:
    """A table of runs and what they came to."""

    name: str
    folder: Path
    figures: dict[str, Any]  # study.json


@dataclass(frozen=True, eq=False)
class Found:
    """Everything of a work directory that a report is made of."""

    name: str
    folder: Path
    runs: list[Run]
    studies: list[Study]
    archives: list[tuple[Path, Path]]  # manifest and split, in the order of the runs; the split may not be there
    lost: list[str]  # file names of manifests that are named and not there
    problems: list[str]  # files that cannot be read, by name, and why
    left_out: int  # fine-tuning runs of studies that are not shown one by one

    @property
    def pretraining(self) -> list[Run]:
        return [run for run in self.runs if run.kind == "reconstruct"]

    @property
    def finetuning(self) -> list[Run]:
        return [run for run in self.runs if run.kind == "classify"]


def gather(workdir: Path) -> Found:
    """Looks into a run, a study, or a folder of several; pre-training runs that these began with are followed.

    Errors: FileNotFoundError where there is no such folder, or nothing in it that a report could show.
    """
    if not workdir.is_dir():
        raise FileNotFoundError(f"no work directory {workdir}")
    problems: list[str] = []
    folders = [workdir, *sorted(path for path in workdir.iterdir() if path.is_dir())]
    runs = [read_run(path, problems) for path in folders if (path / "config.json").is_file()]
    starts = [start for run in runs for start in _starts(run.settings)]
    studies, left_out = [], 0
    for path in folders:
        figures = _complete(path / "study.json", missing_of_study, problems)
        if figures is None:
            continue
        studies.append(Study(path.resolve().name, path, figures))
        below = _runs_of(figures, path)
        starts += [start for folder in below for start in _starts(_settings(folder, []))]
        chosen = _standing_for_all(below)
        left_out += len(below) - len(chosen)
        runs += [read_run(folder, problems, "/".join(folder.relative_to(path / "runs").parts)) for folder in chosen]
    there = {run.folder.resolve() for run in runs}
    for folder in dict.fromkeys(found for start in starts if (found := _run_at(start)) is not None):
        if folder not in there:
            runs.append(read_run(folder, problems))
    runs.sort(key=lambda run: run.kind == "classify")  # what comes first comes first; else by name
    archives, lost = _archives(workdir, runs)
    if not (runs or studies or archives):
        raise FileNotFoundError(
            f"{workdir} holds nothing to report: no run (config.json), no study (study.json), no manifest.parquet"
        )
    return Found(workdir.resolve().name, workdir, runs, studies, archives, lost, problems, left_out)


def read_run(folder: Path, problems: list[str], name: str = "") -> Run:
    """One run, named as its folder if not otherwise; what cannot be read is added to `problems`."""
    settings, config = _settings(folder, problems), None
    try:
        config = read_json(folder / "config.json")
    except (ValueError, TypeError, OSError) as error:
        if settings:  # of another version; all else can still be shown
            field = str(error).partition(" ")[0]  # the rest may hold a path
            problems.append(f"{folder.name}/config.json is not of this version: see {field}")
    evaluations = {}
    for side in SIDES:
        figures = _complete(folder / "evaluation" / f"{side}.json", missing_of_evaluation, problems)
        if figures is not None:
            evaluations[side] = figures
    kept = Path(settings.get("train", {}).get("checkpoints") or folder / "checkpoints")
    saved = sorted(int(path.name) for path in kept.glob("*") if path.name.isdigit())
    start = _read(folder / "start.json", problems)
    return Run(
        name=name or folder.resolve().name,
        folder=folder,
        kind=settings.get("task", {}).get("kind", "reconstruct"),
        settings=settings,
        config=config,
        history=read_history(folder / "metrics.jsonl"),
        panels=tuple(sorted(path for path in (folder / "panels").glob("*.png") if path.stem.isdigit())),
        evaluations=evaluations,
        start=tuple(map(str, start)) if isinstance(start, list) else (),
        premises=_premises(folder, problems) if saved else {},
        saved=tuple(saved),
        continued=_object(folder / "continued.json", problems) or {},
    )


def without_folders(settings: dict[str, Any]) -> str:
    """Settings as JSON to show: of paths, which may name patients, only the last part."""
    plain = json.loads(json.dumps(settings))
    for section, setting in (("data", "manifest"), ("data", "root"), ("data", "split"), *_STARTS):
        value = plain.get(section, {}).get(setting)
        if isinstance(value, str) and value:
            plain[section][setting] = file_name(value)
    return to_json(plain, indent=2)


def file_name(path: str) -> str:
    """The last part of a path as any system writes it."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _settings(folder: Path, problems: list[str]) -> dict[str, Any]:
    return _object(folder / "config.json", problems) or {}


def _complete(path: Path, missing: Callable[[dict[str, Any]], list[str]], problems: list[str]) -> dict[str, Any] | None:
    """A JSON object that has all the fields a page reads; None where it has not."""
    figures = _object(path, problems)
    if figures is not None and (lacking := missing(figures)):
        problems.append(f"{path.parent.name}/{path.name} is of another version: it has no {lacking[0]}")
        return None
    return figures


def _object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, or something else in it."""
    value = _read(path, problems)
    if value is not None and not isinstance(value, dict):
        problems.append(f"{path.parent.name}/{path.name} is not a JSON object")
        return None
    return value


def _read(path: Path, problems: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        problems.append(f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}")
        return None


def _premises(folder: Path, problems: list[str]) -> dict[str, Any]:
    from radmae_jax.train import checkpoint  # jax and orbax only where there is a checkpoint
    from radmae_jax.train.saved import checkpoints_of

    try:
        with checkpoint.open_reader(checkpoints_of(folder), lambda figures: 0.0) as manager:
            return checkpoint.read_premises(manager, max(manager.all_steps()))
    except (ValueError, KeyError, OSError) as error:
        problems.append(f"{folder.name}: its newest checkpoint tells nothing of the run: {type(error).__name__}")
        return {}


def _starts(settings: dict[str, Any]) -> list[str]:
    """The paths of what a run began with; empty ones too."""
    return [str(settings.get(section, {}).get(field) or "") for section, field in _STARTS]


def _run_at(start: str) -> Path | None:
    """The work directory of a run that another began with, from its path, its checkpoints' or one checkpoint's."""
    path = Path(start).resolve()
    for folder in (path, path.parent, path.parent.parent) if start else ():
        if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
            return folder
    return None


def _runs_of(study: dict[str, Any], folder: Path) -> list[Path]:
    """The runs whose scores a study's table shows: those of its cells, at their learning rates."""
    found = []
    for cell in study["cells"]:
        for seed in study["seeds"]:
            run = f"{cell['task']}/{cell['arm']}/n{cell['budget']}/seed{seed}-lr{cell['learning_rate']:g}"
            found.append(folder / "runs" / run)
    return sorted(path for path in found if (path / "config.json").is_file())


def _standing_for_all(folders: list[Path]) -> list[Path]:
    """Of a study's fine-tuned and evaluated runs one for each set of labels: the arm that comes first, the largest
    budget, the smallest seed. Never by score, which would flatter."""
    best: dict[str, tuple[tuple, Path]] = {}
    for folder in folders:
        if not any((folder / "evaluation" / f"{side}.json").is_file() for side in SIDES):
            continue
        settings = _settings(folder, [])
        task, train = settings.get("task", {}), settings.get("train", {})
        arm = train.get("arm", "")
        rank = (
            _ARMS.index(arm) if arm in _ARMS else len(_ARMS),
            -(task.get("budget") or 10**9),  # 0: all labels there are
            train.get("seed", 0),
            str(folder),
        )
        key = json.dumps(task.get("labels"))
        if key not in best or rank < best[key][0]:
            best[key] = (rank, folder)
    return [folder for _, folder in best.values()]


def _archives(workdir: Path, runs: list[Run]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Manifests and splits of the runs that are where they were, or beside the run since; and the names of others."""
    found: dict[Path, tuple[Path, Path]] = {}
    lost = []
    for run in runs:
        path = manifest_of(run)
        if path is not None:
            found.setdefault(path.resolve(), (path, split_of(run, path)))
        elif named := run.settings.get("data", {}).get("manifest"):
            lost.append(file_name(str(named)))
    beside = workdir / "manifest.parquet"
    if not found and beside.is_file():
        found[beside] = (beside, beside.with_name("manifest.parquet.split.parquet"))
    return list(found.values()), sorted(set(lost))


def manifest_of(run: Run) -> Path | None:
    """The manifest that a run read: where its settings say, else of that name beside the run or one folder up."""
    named = run.settings.get("data", {}).get("manifest")
    if not named:
        return None
    name = file_name(str(named))
    for path in (Path(named), run.folder / name, run.folder.resolve().parent / name):
        if path.is_file():
            return path
    return None


def split_of(run: Run, manifest: Path) -> Path:
    """The split that a run read: the one its settings name if it is there, else the one beside the manifest."""
    named = Path(str(run.settings.get("data", {}).get("split") or ""))
    return named if named.is_file() else manifest.with_name(f"{manifest.name}.split.parquet")
