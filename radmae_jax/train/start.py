"""Given weights, of a run or of any file, to the state that training begins from; what is not taken is said."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Config, Task
from radmae_jax.convert.adapt import adapt, fold_class_position
from radmae_jax.convert.formats import Known, read_weights
from radmae_jax.convert.weights import (
    ConvertError,
    Pixels,
    Weights,
    check,
    from_variables,
    of_decoder,
    shapes_of,
    to_variables,
)
from radmae_jax.data.dataset import Archive, Dataset
from radmae_jax.data.leakage import FILE, Leakage, Seen, prove, read_seen, seen_of, write_seen
from radmae_jax.model.size import encoder_size
from radmae_jax.train.hosts import agree, is_first, several
from radmae_jax.train.origin import words_after_name
from radmae_jax.train.saved import Saved, is_run, read_run, workdir_of
from radmae_jax.train.session import forget_continued, forget_start
from radmae_jax.train.state import State, mean_of

TRAINED_BY = "trained by"  # of a recipe


def choose_start(config: Config, dataset: Dataset, workdir: Path) -> tuple[Weights | None, list[str]]:
    """The weights that a fresh run begins with, if any, and what is to be said of them.

    What the run will have seen is written to WORKDIR/trained_on.parquet. Raises LeakageError where the weights were
    trained on test patients or images; ConvertError as `read_start`.
    """
    path = config.train.start
    if not path and config.train.arm in ("mae", "imagenet"):
        raise ValueError(f"config.train.arm is {config.train.arm!r} and no weights are given; --init names them")
    leakage, before = prove_start(path, dataset)
    given = read_start(path, config) if path else None
    agree({"the weights of --init": _digest(given) if several() else ""})
    if is_first():
        keep_seen(path, dataset, before, workdir)
        # Of a session that ended before its first checkpoint.
        forget_continued(workdir)
        if not path:
            forget_start(workdir)
    return given, [f"leakage: {leakage.said}"]


def keep_seen(path: str, dataset: Dataset, before: Seen | None, workdir: Path) -> None:
    """Writes WORKDIR/trained_on.parquet: what a run will have seen, and what was seen before it.

    Args:
      path: the weights or the run that it begins with; "": none.
      before: what those have seen; None where that is not known, which leaves the run without the file.
    """
    if path and before is None:
        (workdir / FILE).unlink(missing_ok=True)  # of a session that ended before its first checkpoint
        return
    records = np.concatenate([dataset.records("train"), dataset.records("validation")])
    write_seen(seen_of(dataset.manifest, records, before), workdir)


def _digest(weights: Weights | None) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted((weights.tensors if weights else {}).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def prove_start(path: str, archive: Archive) -> tuple[Leakage, Seen | None]:
    """That given weights ("": none) have not seen the archive's test side, and what they have; see `leakage.prove`."""
    before = read_seen(workdir_of(path)) if path and is_run(path) else None
    return prove(archive.manifest, archive.split, before, given=bool(path)), before


def read_start(path: str | Path, config: Config) -> Weights:
    """The weights at a path, made to fit config.model's patch, channels and position table.

    Args:
      path: a run (its work directory, `checkpoints` or one step), an exported directory, one of Hugging Face's, or a
        .safetensors, .npz or .pth file.

    Raises ConvertError naming the setting where the encoder is another one.
    """
    path, model = Path(path), config.model
    want, decoder = encoder_size(model), config.task.kind == "reconstruct"
    if is_run(path):
        weights = weights_of(read_run(path))
    else:  # a file of tensors does not show its heads
        known = Known(heads=want.heads) if path.is_file() else None
        weights = read_weights(path, known=known, decoder=decoder)
    arm = config.train.arm
    if arm == "mae" and weights.kind != "mae":
        raise ConvertError(f"{path.name} is of kind {weights.kind!r}; config.train.arm 'mae' begins with an MAE")
    ours = str(weights.recipe.get(TRAINED_BY, "")).startswith("radmae_jax")
    if arm == "imagenet" and (weights.kind == "mae" or ours):
        raise ConvertError(
            f"{path.name} is {'of a run of radmae_jax' if ours else 'an MAE'}; config.train.arm 'imagenet' begins with "
            "the encoder or classifier of another program"
        )
    have = encoder_size(weights.model)
    if have != want:
        raise ConvertError(f"{path.name} has an encoder of {have}, config.model of {want}")
    for name in ("gelu", "norm_eps"):
        theirs, ours = getattr(weights.model, name), getattr(model, name)
        if theirs != ours:
            raise ConvertError(
                f"{path.name} has {name} {theirs!r}, config.model.{name} is {ours!r}: another function; "
                f"--config.model.{name}={theirs} takes the weights as they are"
            )
    weights = adapt(
        weights, patch=model.patch, channels=model.channels, table_side=model.table_side, positions=model.resample
    )
    return check(fold_class_position(weights))


def begin(state: State, weights: Weights, config: Config) -> tuple[State, tuple[str, ...]]:
    """A fresh state with every part that the weights have and config.model can take, and lines that say which.

    The encoder is always taken whole. A decoder is taken by an MAE whose decoder is of the same size, a head by a
    classifier of the same classes in the same order; the final norm by a model that pools as the weights' does.
    """
    kind = "classifier" if config.task.kind == "classify" else "mae"
    wanted = shapes_of(kind, config.model, sum(map(len, config.task.classes)))
    fresh = {part: reason for part in ("final norm", "decoder", "head") if (reason := _unfit(part, weights, config))}
    names = [name for name in wanted if _part(name) not in fresh]
    taken = list(dict.fromkeys(_part(name) for name in names))
    lines = [*weights.notes, f"taken from the given weights: {', '.join(taken)}"]
    if weights.model.resample != config.model.resample:
        lines.append(
            f"positions were resized {weights.model.resample}; config.model.resample is {config.model.resample}"
        )
    if weights.pixels.intensity not in ("", config.data.intensity):
        lines.append(
            f"its pixels were {weights.pixels.intensity!r}; config.data.intensity is {config.data.intensity!r}"
        )
    lines += [f"the {part} begins fresh: {fresh[part]}" for part in dict.fromkeys(map(_part, wanted)) if part in fresh]
    for name in names:
        if weights.tensors[name].shape != wanted[name]:
            shape = list(weights.tensors[name].shape)
            raise ConvertError(f"tensor {name} is {shape}; config.model has {list(wanted[name])}")
    variables = to_variables(replace(weights, kind=kind, tensors={name: weights.tensors[name] for name in names}))
    params = _overlay(state.params, variables["params"])
    tables = _overlay(state.tables, variables.get("tables", {}))
    average = mean_of(params, config.optim.ema > 0)
    return replace(state, params=params, tables=tables, average=average), tuple(lines)


def weights_of(saved: Saved) -> Weights:
    """A run's model as weights, with what a model card says of its making: settings and counts, no path, no name."""
    config, kind = saved.config, "classifier" if saved.config.task.kind == "classify" else "mae"
    model = config.model if kind == "classifier" else replace(config.model, pool="class")  # an MAE pools nothing
    premises = saved.premises
    recipe = {
        TRAINED_BY: "radmae_jax, " + ("classification" if kind == "classifier" else "masked reconstruction"),
        "manifest, first digits of its hash": premises["manifest"][:16],
        "split, likewise": premises["split"][:16],
        "optimizer steps": saved.step,
        "steps an epoch": premises["steps_per_epoch"],
        "images a step, by whole groups": config.train.images_per_step,
        "epochs planned": config.train.epochs,
        "learning rate": config.optim.learning_rate,
        "weight decay": config.optim.weight_decay,
        "seed": config.train.seed,
        "binning": f"{config.bins.policy}, padding {config.bins.pad_tokens}",
        "tokens of a row": ", ".join(map(str, premises["lengths"])),
        "compute": config.model.dtype,
    }
    if saved.continued:
        recipe["continues another run"] = words_after_name(saved.continued)
    if saved.start:
        recipe["began with given weights"] = "; ".join(saved.start)
    if kind == "classifier":
        recipe["label"] = ", ".join(config.task.labels)
    else:
        recipe["loss"] = f"{config.loss.kind}, by {config.loss.weighting}"
    return check(
        Weights(
            kind, model, from_variables(saved.params, saved.tables), flat_classes(config.task),
            Pixels(config.data.intensity, config.data.dtype), kind == "mae" and config.loss.norm_pix, recipe,
        )
    )  # fmt: skip


def of_label(weights: Weights, task: Task, label: str) -> Weights:
    """A classifier of several labels as that of one of them: its part of the head."""
    if label not in task.labels:
        has = ", ".join(task.labels) or "none: it was trained to reconstruct"
        raise ValueError(f"--label {label}: the run's labels are {has}")
    at = task.labels.index(label)
    start = sum(map(len, task.classes[:at]))
    part = slice(start, start + len(task.classes[at]))
    tensors = {
        name: tensor[..., part] if name.startswith("head/") else tensor for name, tensor in weights.tensors.items()
    }
    recipe, others = weights.recipe | {"label": label}, ", ".join(name for name in task.labels if name != label)
    if others:
        recipe["trained together with"] = others
    return check(replace(weights, tensors=tensors, classes=task.classes[at], recipe=recipe))


def flat_classes(task: Task) -> tuple[str, ...]:
    """Names of all outputs of the head: the classes of one label, or LABEL: CLASS of several."""
    if len(task.labels) == 1:
        return task.classes[0]
    pairs = zip(task.labels, task.classes, strict=False)
    return tuple(f"{label}: {name}" for label, classes in pairs for name in classes)


def _part(name: str) -> str:
    if of_decoder(name):
        return "decoder"
    if name.startswith("head/"):
        return "head"
    return "final norm" if name.startswith("encoder_norm/") else "encoder"


def _unfit(part: str, weights: Weights, config: Config) -> str:
    """Why a part of the model is not taken from the weights; empty where it is."""
    model, have = config.model, weights.model
    if part == "head":
        if weights.kind != "classifier":
            return "the given weights have none"
        if weights.classes != flat_classes(config.task):
            return f"the given weights' is of {len(weights.classes)} classes, not config.task.classes"
        theirs, ours = weights.recipe.get("label", ""), ", ".join(config.task.labels)
        if theirs not in ("", ours):  # of a label of other meaning whose classes have the same names, such as 0 and 1
            return f"the given weights' is of {theirs}, not {ours}"
        return "" if have.pool == model.pool else f"the given weights' stands at pooling {have.pool!r}"
    if part == "final norm":
        theirs = "class" if weights.kind == "mae" else have.pool
        ours = model.pool if config.task.kind == "classify" else "class"
        # As the MAE's own fine-tuning does: a norm after the mean is another one than a norm before the class token.
        return "" if theirs == ours else f"the given weights' stands at pooling {theirs!r}, this model's at {ours!r}"
    if weights.kind != "mae":
        return "the given weights have none"
    sizes = [(m.decoder_width, m.decoder_layers, m.decoder_heads) for m in (have, model)]
    if sizes[0] != sizes[1]:
        return f"the given weights' is {have.decoder_layers} x {have.decoder_width}, {have.decoder_heads} heads"
    if have.decoder_positions != model.decoder_positions:
        return f"the given weights' has positions {have.decoder_positions!r} (config.model.decoder_positions)"
    if weights.norm_pix != config.loss.norm_pix:
        return f"it predicts with config.loss.norm_pix {weights.norm_pix}"
    return ""


def _overlay(tree: Any, given: dict[str, Any]) -> Any:
    """A tree of placed arrays with the given leaves put in their places."""
    if not isinstance(tree, dict):
        values = np.asarray(given, tree.dtype)
        return jax.make_array_from_callback(values.shape, tree.sharding, lambda index: values[index])
    return {name: _overlay(leaf, given[name]) if name in given else leaf for name, leaf in tree.items()}
