"""The history of a run to its curves and what is said of them."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from radmae_jax.config import Model
from radmae_jax.evaluate.report.charts import Line, legend, line_chart
from radmae_jax.evaluate.report.gather import Run
from radmae_jax.evaluate.report.history import History
from radmae_jax.evaluate.report.pictures import sheet
from radmae_jax.evaluate.report.words import TIMES, count, figure, listed
from radmae_jax.model.size import encoder_size
from radmae_jax.train.origin import words_after_name

_RAW = 400  # points of the loss of single steps
_SMOOTH = 40  # stretches that the smoothed loss is the mean of


@dataclass(frozen=True)
class Chart:
    """A figure of a page."""

    picture: Markup
    caption: str
    legend: Markup | None = None


@dataclass(frozen=True)
class Sheet:
    """Reconstructions after some step."""

    step: int
    picture: str  # data: URI
    when: str
    last: bool


def charts_of(run: Run) -> list[Chart]:
    """The curves of one run's training."""
    history = run.history
    if not len(history.loss):
        return []
    charts = [_loss(run)]
    if len(history.buckets) > 1:
        charts.append(_by_bucket(run))
    if run.kind == "classify":
        charts += _accuracy(run)
    if len(history.learning_rate):
        line = Line("learning rate", *_xy(history.learning_rate.thinned()))
        picture = line_chart(
            [line], _title(run, "learning rate"), "optimizer step", "learning rate", from_zero=not run.continued
        )
        charts.append(Chart(picture, "Learning rate of each step."))
    return charts


def sheets_of(run: Run, all_of_them: bool = True) -> list[Sheet]:
    """Reconstructions at first, midway and at last, or those at last alone."""
    paths = run.panels
    if not paths:
        return []
    at = sorted({0, len(paths) // 2, len(paths) - 1}) if all_of_them else [len(paths) - 1]
    when = {0: "at first", len(paths) // 2: "midway", len(paths) - 1: "at last"}
    return [Sheet(int(paths[i].stem), sheet(paths[i]), when[i], i == at[-1]) for i in at]


def facts_of(run: Run) -> list[tuple[str, str]]:
    """What a run is, as names and values."""
    history, config = run.history, run.config
    facts = []
    if config is not None:
        facts.append(("Model", _model(config.model, run.kind)))
        if run.kind == "reconstruct":
            facts.append(("Hidden", f"{100 * config.model.mask_ratio:.0f} % of each image's patches"))
        else:
            facts.append(("Labels", listed(list(config.task.labels))))
            budget = config.task.budget
            facts.append(("Label budget", count(budget, "image") + " of each label" if budget else "all there are"))
    if run.start:
        facts.append(("Began with", "; ".join(run.start)))
    elif run.kind == "classify":
        facts.append(("Began with", "random weights"))
    if run.continued:
        facts.append(("Continues", f"another run {words_after_name(run.continued)}".strip()))
    before = " in all, those of the run that it continues counted" if run.continued else ""
    facts.append(("Trained for", f"{count(history.steps, 'step')}, {count(history.epochs, 'epoch')}{before}"))
    own = ", in this run" if run.continued else ""
    facts.append(("Images seen", f"{history.images:,} (each as often as it was shown{own})"))
    if history.images_per_second == history.images_per_second:
        speed = f"{history.images_per_second:,.1f} images a second (median)"
        facts.append(("Speed", f"{speed}, waiting for data {100 * history.waiting:.1f} % of the time"))
    if history.not_applied:
        facts.append(("Steps not applied", f"{history.not_applied:,}, as their gradients were not finite"))
    if history.unreadable or history.failed:
        shown = ", ".join(map(str, history.failed[:8])) + (", ..." if len(history.failed) > 8 else "")
        facts.append(("Could not be read", f"{history.unreadable:,} times (records {shown})"))
    return facts


def validation_of(history: History, names: tuple[str, ...]) -> tuple[str, float, float] | None:
    """The first of these figures there is: its name, first and last value."""
    for name in names:
        curve = history.validation.get(name)
        if curve is not None and len(curve):
            return name, float(curve.values[0]), float(curve.values[-1])
    return None


def _loss(run: Run) -> Chart:
    history = run.history
    positive = bool((history.loss.values > 0).all())
    lines = [Line("single steps", *_xy(history.loss.thinned(_RAW)), faint=True)]
    if len(history.loss) > 2 * _SMOOTH:
        lines.append(Line("smoothed", *_xy(history.loss.thinned(_SMOOTH))))
    name = "masked_valid" if run.kind == "reconstruct" else "loss"
    seen = history.validation.get(name)
    if seen is not None and len(seen):
        lines.append(Line("validation images", *_xy(seen.thinned(60)), colour=1, marked=True))
    y_name = "squared error, log scale" if run.kind == "reconstruct" else "cross-entropy, log scale"
    what = (
        "Mean squared error of hidden pixels, grey values from 0 to 1"
        if run.kind == "reconstruct"
        else "Mean cross-entropy, nats"
    )
    ends = f" At the first step {figure(history.loss.values[0], 4)}, at the last {figure(history.loss.values[-1], 4)}."
    picture = line_chart(
        lines, _title(run, "loss"), "optimizer step", y_name if positive else y_name.partition(",")[0], log_y=positive,
        from_zero=not run.continued,
    )  # fmt: skip
    return Chart(picture, f"{what}, by step.{ends}", legend(lines))


def _by_bucket(run: Run) -> Chart:
    """A curve a bucket, from the shortest rows to the longest."""
    history = run.history
    last = max(len(history.buckets) - 1, 1)
    lines = [
        Line(f"{tokens:,} tokens", *_xy(curve.thinned(_SMOOTH)), colour=-1, share=at / last)
        for at, (tokens, curve) in enumerate(history.buckets.items())
        if len(curve)
    ]
    positive = all((curve.values > 0).all() for curve in history.buckets.values())
    picture = line_chart(
        lines, "loss by bucket of image sizes, one curve a bucket", "optimizer step", "loss, log scale", log_y=positive,
        from_zero=not run.continued,
    )  # fmt: skip
    caption = "Loss of each bucket: do large images learn as small ones do? From few tokens (small images) to many."
    return Chart(picture, caption, legend(lines))


def _accuracy(run: Run) -> list[Chart]:
    history = run.history
    curves = {name: c for name, c in history.validation.items() if name.startswith("balanced_accuracy") and len(c)}
    if not curves:
        return []
    names = [name.partition("/")[2] or "balanced accuracy" for name in curves]
    names = ["mean of the labels" if n == "balanced accuracy" and len(names) > 1 else n for n in names]
    lines = [
        Line(name, *_xy(curve.thinned(60)), colour=at, marked=True)
        for at, (name, curve) in enumerate(zip(names, curves.values(), strict=True))
    ]
    picture = line_chart(
        lines, "balanced accuracy on validation images, by step", "optimizer step", "balanced accuracy", share=True,
        from_zero=not run.continued,
    )  # fmt: skip
    return [Chart(picture, "Balanced accuracy on validation images; the best step was kept.", legend(lines))]


def _model(model: Model, kind: str) -> str:
    size = encoder_size(model)
    name = "masked autoencoder" if kind == "reconstruct" else "classifier"
    variant = "" if model.variant == "custom" else f"ViT-{model.variant}, "
    return (
        f"{name}, {variant}{size.layers} layers of {size.width} features and {size.heads} heads, patches of "
        f"{model.patch} {TIMES} {model.patch} pixels"
    )


def _title(run: Run, what: str) -> str:
    return f"{run.name}: {what} by optimizer step"


def _xy(curve: Any) -> tuple[Any, Any]:
    return curve.steps, curve.values
