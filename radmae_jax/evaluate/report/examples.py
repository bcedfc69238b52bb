"""A run and its predictions to pictures of images that it got right and wrong, beside what it attended to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.command import said
from radmae_jax.data.codecs import ImageError
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import SIDES
from radmae_jax.evaluate.report.choices import Choice, choose
from radmae_jax.evaluate.report.gather import Run, manifest_of
from radmae_jax.evaluate.report.pictures import overlaid, plain


@dataclass(frozen=True)
class Shown:
    """An example with its pictures as data: URIs."""

    choice: Choice
    height: int  # pixels of the image, not of the picture
    width: int
    image: str
    attention: str


@dataclass(frozen=True)
class Examples:
    """Those of one label of one run."""

    run: str
    label: str
    side: str
    step: int
    right: list[Shown]
    wrong: list[Shown]


def examples_of(run: Run, problems: list[str]) -> list[Examples]:
    """Pictures for each label of a run's test predictions, else of its validation ones; [] where there are none.

    What stands in the way is added to `problems`: no checkpoint, a manifest that has moved or changed, unreadable
    images.
    """
    sides = [s for s in reversed(SIDES) if s in run.evaluations and _table(run, s).is_file()]
    if not sides:
        return []
    side, manifest_path = sides[0], manifest_of(run)
    if manifest_path is None:
        problems.append(f"{run.name}: the manifest is not there, so no image can be shown")
        return []
    if not run.saved:
        problems.append(f"{run.name}: no checkpoint is there, so no attention can be shown")
        return []
    try:
        root = str(run.settings.get("data", {}).get("root") or "")
        manifest = read_manifest(manifest_path, Path(root) if root else None)
        if run.premises and run.premises.get("manifest") != manifest.hash:
            raise ValueError(f"{manifest_path.name} has changed since training: its records are other images")
        look = _looking(run, side)
    except (ValueError, OSError) as error:
        problems.append(f"{run.name}: no image can be shown: {said(error, run.folder, manifest_path)}")
        return []
    found = []
    for figures in run.evaluations[side].get("labels", []):
        label, classes = figures["label"], list(map(str, figures["classes"]))
        try:
            right, wrong = choose(_table(run, side), label, classes)
        except ValueError as error:
            problems.append(f"{run.name}: {error}")
            continue
        pictures = [
            [shown for choice in choices if (shown := _shown(choice, manifest.file(choice.record), look, problems))]
            for choices in (right, wrong)
        ]
        found.append(Examples(run.name, label, side, int(run.evaluations[side].get("step") or 0), *pictures))
    return found


Look = Callable[[Path], tuple[np.ndarray, np.ndarray]]  # an image file to its pixels and its attention, [H, W] both


def _looking(run: Run, side: str) -> Look:
    """The run's classifier, at the step that was evaluated if it is still there, as a way to look at a file."""
    from radmae_jax.evaluate.one_image import batch_of  # jax only where there is something to look at
    from radmae_jax.evaluate.pretrained import TrainedClassifier, load
    from radmae_jax.evaluate.rollout import heat, rollout

    step = run.evaluations[side].get("step")
    classifier = load(run.folder, step if step in run.saved else "best")
    if not isinstance(classifier, TrainedClassifier):
        raise ValueError("its checkpoint holds no classifier")

    def look(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image = classifier.read(path)
        batch = batch_of(image, classifier.config)
        # To the length of its bucket, which changes nothing of an image: few lengths are few programs to compile.
        tokens = batch.patches.shape[1]
        length = min((n for n in run.premises.get("lengths", ()) if n >= tokens), default=tokens)
        batch = batch._replace(patches=np.pad(batch.patches, ((0, 0), (0, length - tokens), (0, 0))))
        weights = rollout(classifier.model, classifier.params, batch)
        return image, heat(weights, (int(batch.extent[0, 0]), int(batch.extent[0, 1])), classifier.config.model.patch)

    return look


def _shown(choice: Choice, path: Path, look: Look, problems: list[str]) -> Shown | None:
    try:
        image, heat = look(path)
    except (ImageError, OSError) as error:  # whose text may name the path
        reason = error.reason if isinstance(error, ImageError) else type(error).__name__
        problems.append(f"record {choice.record} cannot be shown: {reason}")
        return None
    return Shown(choice, image.shape[0], image.shape[1], plain(image), overlaid(image, heat))


def _table(run: Run, side: str) -> Path:
    return run.folder / "evaluation" / f"{side}.parquet"
