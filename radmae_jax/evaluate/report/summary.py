"""All that was gathered to one paragraph that reads like an abstract, and a few figures beside it."""

from typing import Any

from radmae_jax.data.separation import unknown_of
from radmae_jax.evaluate.report.archive import Facts
from radmae_jax.evaluate.report.data import Binning
from radmae_jax.evaluate.report.gather import Found, Study
from radmae_jax.evaluate.report.growth import grown_from, outermost, totals
from radmae_jax.evaluate.report.tasks import Task
from radmae_jax.evaluate.report.training import validation_of
from radmae_jax.evaluate.report.words import count, figure, level_of, listed, percent, points, probability, share

_STARTS = {"mae": "with pre-training", "random": "without", "imagenet": "from ImageNet weights"}
_MOST = 6  # labels or comparisons that are said one by one


def sentences(found: Found, archives: list[Facts], binnings: list[Binning], tasks: list[Task]) -> list[str]:
    """The findings, a sentence or two of each kind; kinds of which nothing is there are left out."""
    before = grown_from(found.runs)
    said = [_archive(facts, inside, before) for facts, inside in outermost(archives)]
    said += map(_binning, binnings[:1])
    said += _pretraining(found)
    if tasks:
        said += _tasks(tasks)
    for study in found.studies:
        said += _study(study)
    said += _leakage(found, tasks)
    levels = {task.evaluation["level"] for task in tasks} | {study.figures["level"] for study in found.studies}
    if levels:
        level = listed([level_of(value) for value in sorted(levels)])
        known = all(task.patients_known for task in tasks) and not any(_unknown(study) for study in found.studies)
        what = "patients" if known else "patients or, without their numbers, studies or files"
        said.append(f"Figures in brackets are {level} intervals from resampling {what}.")
    return said


def tiles(archives: list[Facts], binnings: list[Binning], tasks: list[Task]) -> list[tuple[str, str, str]]:
    """Figures to see at once: name, figure, and a few words below it."""
    found = []
    if archives:
        images, patients = totals(archives)
        known = not any(facts.numbers.none for facts in archives)
        found.append(("Images", f"{images:,}", f"of {people(patients, known)}"))
    if binnings:
        plan = binnings[0].plan
        found.append(("Training FLOPs saved", f"{plan.flops_saved_pct:.1f} %", "against one fixed size"))
    for task in tasks[:3]:
        score = task.figures["balanced_accuracy"]
        interval = percent(score).partition(" (")[2].rstrip(")")
        low = f"{interval}; " if interval else ""
        found.append(
            (f"{task.label}: balanced accuracy", share(score.get("value")), f"{low}chance {share(task.chance)}")
        )
    return found


def _archive(facts: Facts, inside: list[Facts], before: set[str]) -> str:
    """One archive, with those that it contains.

    Args:
      before: hashes of manifests that runs trained on before they went on with another.
    """
    regions = f" of {count(len(facts.region.values), 'body region')}" if facts.region.values else ""
    heights, widths = facts.manifest.heights, facts.manifest.widths
    different = len(set(zip(heights.tolist(), widths.tolist(), strict=True)))
    lost = sum(files for _, files in facts.quarantine or [])
    refused = f" {count(lost, 'further file')} could not be used." if lost else ""
    images = (
        f"{count(len(facts.manifest), 'radiograph')}{regions} from {people(facts.patients, not facts.numbers.none)}"
    )
    unknown = unknown_of(facts.numbers)
    also = f" {unknown[:1].upper()}{unknown[1:]}." if unknown else ""
    return f"The archive holds {images}, in {count(different, 'size')}.{_contents(inside, before)}{refused}{also}"


def _contents(inside: list[Facts], before: set[str]) -> str:
    """How much of an archive others hold that it contains, and that it grew where a run says so."""
    said = ""
    for grew in (True, False):
        held = [
            f"{count(len(one.manifest), 'radiograph')} of {people(one.patients, not one.numbers.none)} ({one.name})"
            for one in inside
            if (one.manifest.hash in before) == grew
        ]
        if held:
            said += f" It {'grew from' if grew else 'contains'} {listed(held)}."
    return said


def people(number: int, known: bool) -> str:
    """How many patients, or, where no image has a patient number, what is counted instead."""
    return count(number, "patient") if known else f"patients that are not known ({number:,} studies or files)"


def verdict(report: dict[str, Any]) -> str:
    """What a proof comes to: the last row of its table."""
    if report["patients_on_two_sides"] is None:
        return "separation of patients is unknown, not proven"
    if report["pretraining"] == "unproven":
        return "separation is not proven"
    without = report.get("images_without_number")
    return (
        f"separation is proven by patient numbers, and unknown for {count(without, 'image')}"
        if without
        else ("separation is proven")
    )


def _unknown(study: Study) -> bool:
    """Whether a study's archive has no patient numbers."""
    report = study.figures.get("leakage") or {}
    return "patients_on_two_sides" in report and report["patients_on_two_sides"] is None


def _binning(binning: Binning) -> str:
    plan = binning.plan
    return (
        f"Every image keeps its own size: grouping images of like size into {count(plan.programs, 'bucket')} computes "
        f"{plan.tokens_saved_pct:.1f} % fewer image patches, and {plan.flops_saved_pct:.1f} % fewer floating-point "
        "operations in training, than padding all to one fixed size."
    )


def _pretraining(found: Found) -> list[str]:
    said = []
    runs = [run for run in found.pretraining if len(run.history.loss)]
    for run in runs[:1]:
        history = run.history
        before = run.continued.get("images_seen", 0)  # by the runs that it continues; None where that is not known
        seen = f"{history.images + (before or 0):,} images seen{' in the last run' if before is None else ''}"
        text = f"A masked autoencoder was pre-trained without labels for {count(history.steps, 'step')} ({seen})"
        judged = validation_of(history, ("masked_valid", "poster"))
        if judged and judged[1] != judged[2]:
            _, first, last = judged
            text += (
                f"; its squared error on hidden parts of {count(history.validation_images, 'validation image')} went "
                f"from {figure(first, 4)} to {figure(last, 4)}"
            )
        said.append(text + ".")
    if len(runs) > 1:
        said.append(
            f"{count(len(runs) - 1, 'further pre-training run')} {'is' if len(runs) == 2 else 'are'} shown below."
        )
    return said


def _tasks(tasks: list[Task]) -> list[str]:
    said = []
    for side in ("test", "validation"):
        of_side = [task for task in tasks if task.side == side]
        if not of_side:
            continue
        scores = [_score(task) for task in of_side[:_MOST]]
        images = max(task.evaluation["images"] for task in of_side)
        patients = max(task.evaluation["patients"] for task in of_side)
        where = f"{count(images, f'{side} image')} of {people(patients, all(task.patients_known for task in of_side))}"
        seen = {task.evaluation["leakage"].get("pretraining") for task in of_side}
        proven = side == "test" and all(task.patients_proven for task in of_side)
        unseen = f" whom {'training' if seen <= {'none', 'proven'} else 'fine-tuning'} never saw" if proven else ""
        said.append(f"On {where}{unseen}, balanced accuracy was {listed(scores)}.")
        if side == "validation":
            said.append("The test side was not opened; the best step was chosen on validation, so this flatters.")
    below = [task.label for task in tasks if not task.above_chance]
    if below:
        words = "interval does" if len(below) == 1 else "intervals do"
        said.append(f"For {listed(below)} the {words} not exclude guessing.")
    confounded = [task.label for task in tasks if _confounded(task)]
    if confounded:
        said.append(
            f"For {listed(confounded)} metadata alone, without any pixel, would score within the model's interval."
        )
    return said


def _score(task: Task) -> str:
    classes = f"{count(len(task.figures['classes']), 'class', 'classes')}, chance {share(task.chance)}"
    return f"{percent(task.figures['balanced_accuracy'])} for {task.label} ({classes})"


def _confounded(task: Task) -> bool:
    low = task.figures["balanced_accuracy"].get("low")
    alone = [entry["balanced_accuracy"].get("high") for entry in task.figures["metadata_alone"]]
    above = task.above_chance and low is not None
    return above and any(high is not None and high >= low for high in alone)


def _study(study: Study) -> list[str]:
    """For each task the first comparison at the most labels, and how the rest of that pair of arms came out."""
    comparisons = study.figures["comparisons"]
    if not comparisons:
        return []
    a, b = _main_pair(study)
    pair = [c for c in comparisons if (c["a"], c["b"]) == (a, b)]
    most = {
        task: max(c["budget"] for c in pair if c["task"] == task) for task in dict.fromkeys(c["task"] for c in pair)
    }
    cells = {(c["arm"], c["task"], c["budget"]): c["balanced_accuracy"] for c in study.figures["cells"]}
    starts = {arm["name"]: _start(arm) for arm in study.figures["arms"]}
    said = []
    for comparison in [c for c in pair if c["budget"] == most[c["task"]]][:_MOST]:
        said.append(_comparison(comparison, cells, starts))
    better = sum((c["difference"].get("low") or 0.0) > 0 for c in pair)
    worse = sum((c["difference"].get("high") or 0.0) < 0 for c in pair)
    if len(pair) > 1:
        said.append(
            f"Over all tasks and numbers of labels, {a} was better than {b} in {better} of {len(pair)} comparisons and "
            f"worse in {worse or 'none'}."
        )
    return said


def _main_pair(study: Study) -> tuple[str, str]:
    """The comparison that the study is about: of matched arms, pre-trained and random, if there are, else the first."""
    kinds = {arm["name"]: arm["kind"] for arm in study.figures["arms"] if arm["matched"]}
    pairs = [(c["a"], c["b"]) for c in study.figures["comparisons"]]
    return next((pair for pair in pairs if {kinds.get(arm) for arm in pair} == {"mae", "random"}), pairs[0])


def _start(arm: dict[str, Any]) -> str:
    """What an arm begins with, after a score: "with pre-training"."""
    words = _STARTS.get(arm["kind"], "")
    return f"{words} ({arm['name']})" if words and arm["name"] != arm["kind"] else words or f"by {arm['name']}"


def _comparison(comparison: dict[str, Any], cells: dict[tuple, dict[str, Any]], starts: dict[str, str]) -> str:
    task, budget, a, b = (comparison[name] for name in ("task", "budget", "a", "b"))
    own = [cells.get((arm, task, budget)) for arm in (a, b)]
    scores = [
        f"{percent(score)} {starts.get(arm, f'by {arm}')}" for arm, score in zip((a, b), own, strict=True) if score
    ]
    reached = f"balanced accuracy was {listed(scores)}, " if scores else ""
    difference = f"a difference of {points(comparison['difference'])}, {probability(comparison['p_value'])}"
    return f"With {count(budget, 'labelled image')} for {task}, {reached}{difference}."


def _leakage(found: Found, tasks: list[Task]) -> list[str]:
    reports = [task.evaluation["leakage"] for task in tasks] + [study.figures.get("leakage") for study in found.studies]
    said = dict.fromkeys(str(report["said"]) for report in reports if report and report.get("said"))
    return [f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" for text in said]
