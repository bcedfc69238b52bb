"""What all subcommands of `radmae` have in common: how they are added, --json, and --config."""

import argparse
from pathlib import Path
from typing import Any

from radmae_jax.config import Config
from radmae_jax.figures import to_json

TOO_LARGE = 7  # exit code where a program does not fit its device
HOSTS = "RADMAE_HOSTS"  # the environment variable that --hosts defaults to
_CONFIG_HELP = "FILE[:variant] [--config.section.field=value ...]; a config's name alone finds the packaged ones"


def add_command(commands: Any, name: str, run: Any, text: str, config: bool = False) -> argparse.ArgumentParser:
    """A subcommand; `run(options, rest)` gets its options and the --config arguments, and returns the exit code."""
    epilog = f"--config {_CONFIG_HELP}" if config else None
    parser = commands.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(run=run, takes_config=config)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    """The figures as JSON, where --json asks for them."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(figures, indent=2) + "\n")


def step_of(text: str) -> int | str:
    """The value of --step: a number, latest or best."""
    return int(text) if text.isdigit() else text


def optional_config(rest: list[str]) -> Config:
    """The Config of --config arguments; the defaults without any."""
    if not rest:
        return Config()
    from radmae_jax.config_file import from_arguments

    return from_arguments(rest)


def said(error: Exception, *paths: Path) -> str:
    """An error in words that others may read: without the folders of these paths, or a path that the system put in."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    for path in paths:
        text = text.replace(str(path), path.name)
    return text
