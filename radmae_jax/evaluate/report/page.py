"""Everything of a work directory to the text of one HTML page that needs nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from radmae_jax import __version__
from radmae_jax.command import said
from radmae_jax.evaluate.report import data, study, tasks, training, words
from radmae_jax.evaluate.report.archive import Facts, read_facts
from radmae_jax.evaluate.report.charts import bar, whisker
from radmae_jax.evaluate.report.examples import Examples, examples_of
from radmae_jax.evaluate.report.gather import Found, gather
from radmae_jax.evaluate.report.growth import outer_of
from radmae_jax.evaluate.report.pictures import icon, scale
from radmae_jax.evaluate.report.provenance import origin_of, versions
from radmae_jax.evaluate.report.summary import people, sentences, tiles, verdict

SECTIONS = (
    ("summary", "Summary"), ("data", "Data"), ("binning", "Binning"), ("pretraining", "Pre-training"),
    ("tasks", "Tasks"), ("study", "Label efficiency"), ("leakage", "Separation of patients"),
    ("examples", "Examples"), ("provenance", "Provenance"),
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A page and what it is made of."""

    html: str
    runs: int
    studies: int
    tasks: int
    examples: int  # images shown
    problems: list[str]  # what could not be read or shown; said on the page too


def make_page(workdir: Path, images: bool = True) -> Page:
    """The page of a work directory.

    Args:
      images: whether radiographs are shown: reconstructions, and examples right and wrong.

    Errors: FileNotFoundError where there is nothing to report.
    """
    found = gather(workdir)
    problems = list(found.problems)
    archives = _archives(found, problems)
    binnings = data.binnings_of(found, problems)
    listed = tasks.tasks_of(found)
    examples: list[Examples] = []
    if images:
        for run in found.finetuning:
            examples += examples_of(run, problems)
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            found=found,
            sections=SECTIONS,
            version=__version__,
            problems=problems,
            sentences=sentences(found, archives, binnings, listed),
            tiles=tiles(archives, binnings, listed),
            archives=archives,
            binnings=binnings,
            tasks=listed,
            examples=examples,
            images=images,
            leakage=_leakage(found, listed),
            icon=icon(),
            heat_scale=scale() if examples else "",
            versions=versions(),
        )
    )
    shown = sum(len(example.right) + len(example.wrong) for example in examples)
    return Page(html, len(found.runs), len(found.studies), len(listed), shown, problems)


def _archives(found: Found, problems: list[str]) -> list[Facts]:
    """What every different archive holds; copies of one manifest and split are one."""
    archives: dict[tuple[str, str], Facts] = {}
    for manifest, split in found.archives:
        try:
            facts = read_facts(manifest, split)
        except (ValueError, OSError) as error:
            problems.append(f"{manifest.name}: {said(error, manifest)}")
            continue
        archives.setdefault((facts.manifest.hash, facts.split.hash if facts.split else ""), facts)
    for facts in archives.values():
        problems += facts.problems
    return list(archives.values())


def _leakage(found: Found, listed: list[tasks.Task]) -> list[tuple[str, dict[str, Any]]]:
    """Proofs by the names of the runs and studies that they are of; equal ones are named together."""
    named = [(task.run, task.evaluation["leakage"]) for task in listed]
    named += [(one.name, one.figures["leakage"]) for one in found.studies if one.figures.get("leakage")]
    reports: list[tuple[list[str], dict[str, Any]]] = []
    for name, report in named:
        same = next((names for names, held in reports if held == report), None)
        if same is None:
            reports.append(([name], report))
        elif name not in same:
            same.append(name)
    return [(words.listed(names), report) for names, report in reports]


def _environment() -> Environment:
    """Templates escape what they write, as labels come from users' files; charts are marked as safe where drawn."""
    environment = Environment(
        loader=PackageLoader("radmae_jax.evaluate.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Any] = {
        "percent": words.percent, "area": words.area, "points": words.points, "share": words.share,
        "level": words.level_of,
        "figure": words.figure, "p_value": words.probability, "listed": words.listed,
        "thousands": "{:,}".format, "whole": words.whole, "scientific": words.scientific,
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals.update(
        bar=bar, named=words.named, whisker=whisker, count=words.count, data=data, study_charts=study, task_words=tasks,
        outer_of=outer_of, training=training, origin_of=origin_of, people=people, verdict=verdict,
    )  # fmt: skip
    return environment
