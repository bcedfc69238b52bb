"""`radmae report`: its arguments, and what is said."""

import argparse
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, write_figures


def add_report(commands: Any) -> None:
    """Adds the subcommand."""
    report = add_command(commands, "report", _report, "a work directory to one HTML page that needs nothing else")
    report.add_argument("workdir", type=Path, help="a run, a study, or a folder of several")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: WORKDIR/report.html")
    report.add_argument("--no-images", action="store_true", help="show no radiographs, for a page to be passed on")


def _report(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.evaluate.report.page import make_page
    from radmae_jax.evaluate.report.words import count

    page = make_page(options.workdir, images=not options.no_images)
    out = options.out or options.workdir / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    written = out.write_bytes(page.html.encode("utf-8"))
    figures = {
        "page": str(out), "bytes": written, "runs": page.runs, "studies": page.studies, "tasks": page.tasks,
        "examples": page.examples, "problems": page.problems,
    }  # fmt: skip
    write_figures(options.json, figures)
    for problem in page.problems:
        print(f"  {problem}")
    print(
        f"{out}: {count(page.runs, 'run')}, {count(page.studies, 'study', 'studies')}, {count(page.tasks, 'task')}, "
        f"{count(page.examples, 'example')}; "
        f"{written / 1e6:.1f} MB, to be opened in a browser"
    )
    return 0
