"""study.json to its charts: what labels and pre-training bring, by task."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from radmae_jax.evaluate.report.charts import Line, legend, line_chart
from radmae_jax.evaluate.report.gather import Study
from radmae_jax.evaluate.report.words import apart

_WIDE = 8.0  # a range of x of more than so many times is drawn on a log scale


@dataclass(frozen=True)
class TaskCharts:
    """What is drawn of one task."""

    task: dict[str, Any]
    chance: float
    efficiency: Markup  # balanced accuracy by labels; empty without cells
    by_steps: Markup  # balanced accuracy by steps of pre-training; empty without a curve
    by_images: Markup  # and by different images of pre-training
    cells: list[dict[str, Any]]  # with the colour of their arm
    curve: list[dict[str, Any]]


def task_charts(study: Study) -> list[TaskCharts]:
    """The charts of every task."""
    figures = study.figures
    colours = {arm["name"]: at for at, arm in enumerate(figures["arms"])}
    charts = []
    for task in figures["tasks"]:
        chance = 1.0 / max(task["classes_present"], 1)
        cells = [
            {**cell, "colour": colours.get(cell["arm"], 0)} for cell in figures["cells"] if cell["task"] == task["name"]
        ]
        curve = sorted(
            (point for point in figures["curve"] if point["task"] == task["name"]),
            key=lambda point: (point["budget"], point["images"] or 0, point["steps"]),
        )
        curve = [*_random_start(study, cells, curve), *curve]
        lines = _arm_lines(study, cells)
        efficiency = Markup("")
        if any(len(line.x) for line in lines):
            title = f"{task['name']}: balanced accuracy by number of labelled images, one curve an arm"
            efficiency = _chart(lines, title, "labelled images for training", chance)
        by_steps, by_images = _by_steps(task, curve, chance), _by_images(task, curve, chance)
        charts.append(TaskCharts(task, chance, efficiency, by_steps, by_images, cells, curve))
    return charts


def arm_legend(study: Study) -> Markup:
    """The arms' colours and what each is."""
    lines = _arm_lines(study, study.figures["cells"])
    notes = [_arm_note(arm) for arm in study.figures["arms"]]
    return legend(lines, notes)


def budget_legend(study: Study) -> Markup:
    """The colours of the curves over pre-training, one a budget."""
    budgets = sorted({point["budget"] for point in study.figures["curve"]})
    lines = [Line(f"{budget:,} labelled images", [], [], colour=at, marked=True) for at, budget in enumerate(budgets)]
    return legend(lines)


def comparison_words(comparison: dict[str, Any]) -> str:
    """Which of two arms is better, as far as the interval says."""
    low, high = comparison["difference"].get("low"), comparison["difference"].get("high")
    if low is None or high is None:
        return "not enough patients to tell"
    if low > 0:
        return f"{comparison['a']} better"
    return f"{comparison['b']} better" if high < 0 else "no difference shown"


def intervals_apart(study: Study, comparison: dict[str, Any]) -> bool | None:
    """Whether the intervals of the two arms themselves have no value in common; None where one is missing."""
    cells = {(c["arm"], c["task"], c["budget"]): c["balanced_accuracy"] for c in study.figures["cells"]}
    pair = [cells.get((comparison[side], comparison["task"], comparison["budget"])) for side in ("a", "b")]
    return None if pair[0] is None or pair[1] is None else apart(pair[0], pair[1])


def _arm_lines(study: Study, cells: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for at, arm in enumerate(study.figures["arms"]):
        own = sorted((cell for cell in cells if cell["arm"] == arm["name"]), key=lambda cell: cell["budget"])
        lines.append(_line(arm["name"], [cell["budget"] for cell in own], own, at))
    return lines


def _arm_note(arm: dict[str, Any]) -> str:
    said = str(arm["said"])
    before = arm["pretraining"]
    if before:
        said += f"; pre-trained for {before['steps']:,} steps, {before['images_seen']:,} images seen"
    return said if arm["matched"] else f"{said}; not matched: differs from the other arms in more than its start"


def _random_start(study: Study, cells: list[dict[str, Any]], curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points of no pre-training at all: the matched arm of random start, at the budgets of the curve."""
    arms = [arm["name"] for arm in study.figures["arms"] if arm["kind"] == "random" and arm["matched"]]
    budgets = {point["budget"] for point in curve} - {point["budget"] for point in curve if point["steps"] == 0}
    return [
        {**cell, "steps": 0, "images_seen": 0, "images": 0}
        for cell in cells
        if cell["arm"] in arms[:1] and cell["budget"] in budgets
    ]


def _by_steps(task: dict[str, Any], curve: list[dict[str, Any]], chance: float) -> Markup:
    """Of each budget the points that were pre-trained on the most images, by steps."""
    lines = []
    for at, budget in enumerate(sorted({point["budget"] for point in curve})):
        own = [point for point in curve if point["budget"] == budget]
        most = max(point["images"] or 0 for point in own)
        own = [point for point in own if point["steps"] == 0 or (point["images"] or 0) == most]
        own.sort(key=lambda point: point["steps"])
        lines.append(_line(f"{budget:,} labels", [point["steps"] for point in own], own, at))
    if not any(len(set(line.x)) > 1 for line in lines):
        return Markup("")
    title = f"{task['name']}: balanced accuracy by steps of pre-training"
    return _chart(lines, title, "steps of pre-training", chance)


def _by_images(task: dict[str, Any], curve: list[dict[str, Any]], chance: float) -> Markup:
    """Of each budget the points of one number of steps, where the number of images varies: of the numbers of steps that
    most numbers of images have, the largest."""
    lines, steps = [], 0
    for at, budget in enumerate(sorted({point["budget"] for point in curve})):
        own = [point for point in curve if point["budget"] == budget and point["images"] and point["steps"]]
        numbers = Counter(steps for steps, _ in {(point["steps"], point["images"]) for point in own})
        steps = max(numbers, key=lambda steps: (numbers[steps], steps), default=0)
        of_images = {point["images"]: point for point in own if point["steps"] == steps}
        ordered = sorted(of_images)
        lines.append(_line(f"{budget:,} labels", ordered, [of_images[images] for images in ordered], at))
    if not any(len(line.x) > 1 for line in lines):
        return Markup("")
    title = f"{task['name']}: balanced accuracy by different images of pre-training, {steps:,} steps each"
    return _chart(lines, title, "different images in pre-training", chance)


def _chart(lines: list[Line], title: str, x_name: str, chance: float) -> Markup:
    xs = sorted({float(x) for line in lines for x in line.x})
    wide = bool(xs) and xs[0] > 0 and xs[-1] / xs[0] > _WIDE
    crowded = any(b < 1.35 * a if wide else b - a < 0.12 * (xs[-1] - xs[0]) for a, b in pairwise(xs))
    return line_chart(
        lines, title, x_name, "balanced accuracy", log_x=wide, share=True, level=(chance, "chance"),
        x_ticks=() if crowded else xs,
    )  # fmt: skip


def _line(name: str, xs: list[int], points: list[dict[str, Any]], colour: int) -> Line:
    def ends(which: str) -> list[float]:
        return [_number(point["balanced_accuracy"].get(which)) for point in points]

    return Line(name, xs, ends("value"), ends("low"), ends("high"), colour, marked=True)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
