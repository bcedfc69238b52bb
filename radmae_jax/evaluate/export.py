"""A run, or weights of any format, to a directory that other programs load, and back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radmae_jax.convert.adapt import adapt
from radmae_jax.convert.exported import OWN, write_weights
from radmae_jax.convert.formats import Known, read_weights
from radmae_jax.convert.weights import Weights, encoder_of
from radmae_jax.train.saved import is_run, read_run
from radmae_jax.train.start import of_label, weights_of


@dataclass(frozen=True)
class Shape:
    """What to change on the way; None keeps what there is."""

    patch: int | None = None
    channels: int | None = None
    table_side: int | None = None
    positions: str = ""  # how position tables are resized: see convert.resample.CONVENTIONS; empty: bilinear


@dataclass(frozen=True)
class Converted:
    """What `radmae convert` did; the keys of its JSON report."""

    source: str
    directory: str
    format: str
    kind: str
    tensors: int
    parameters: int  # position tables included
    model: dict[str, Any]
    notes: list[str]  # what was changed or left out


def convert(
    source: Path, out: Path, to: str = "", form: str = "", *, step: int | str = "latest", encoder_only: bool = False,
    shape: Shape | None = None, known: Known | None = None, label: str = "",
) -> Converted:  # fmt: skip
    """Writes a directory of the format `to`; empty: our own, for weights that come from elsewhere.

    Args:
      source: a run (its work directory, `checkpoints` or one step), or a file or directory of weights.
      form: the format of weights that come from elsewhere; empty: seen from the names.
      step: of a run: a saved step, "latest" or "best".
      label: of a run of several labels: the one whose head is written; not with `encoder_only`.
    """
    known, shape = known or Known(), shape or Shape()
    if label and encoder_only:
        raise ValueError(f"--label {label} chooses a head, --part encoder has none")
    if is_run(source) and not form:
        if known != Known():
            raise ValueError(f"{source} is a run: heads, mean and deviation are known of it")
        if not to:
            raise ValueError(f"{source} is a run: --to is needed, huggingface, timm, mae_pth or {OWN}")
        saved = read_run(source, step)
        weights, labels = weights_of(saved), saved.config.task.labels
        if label:
            weights = of_label(weights, saved.config.task, label)
        elif len(labels) > 1 and not encoder_only:
            raise ValueError(f"{source} has heads for {', '.join(labels)}: --label chooses one, --part encoder none")
    else:
        if label:
            raise ValueError(f"--label {label}: {source} is no run")
        if step != "latest":
            raise ValueError(f"--step {step}: {source} is no run")
        weights = read_weights(source, form, known, decoder=not encoder_only)
    if encoder_only:
        weights = encoder_of(weights)
    if shape.positions and shape.table_side is None:
        raise ValueError(f"--positions {shape.positions} without --table-side has nothing to resize")
    weights = adapt(
        weights, patch=shape.patch, channels=shape.channels, table_side=shape.table_side,
        positions=shape.positions or "bilinear",
    )  # fmt: skip
    to = to or OWN
    write_weights(weights, out, to)
    return _report(source, out, to, weights)


def _report(source: Path, out: Path, to: str, weights: Weights) -> Converted:
    parameters = sum(tensor.size for tensor in weights.tensors.values())
    return Converted(
        str(source), str(out), to, weights.kind, len(weights.tensors), parameters, asdict(weights.model),
        list(weights.notes),
    )  # fmt: skip
