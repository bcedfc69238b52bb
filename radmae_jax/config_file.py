"""The value of --config, and its overrides, to a Config: files are found, run, and read by ml_collections' flags."""

import importlib.util
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from radmae_jax.config import Config
from radmae_jax.config_checks import freeze


def find_config(name: str) -> Path:
    """The file a --config value names: a path, or one of the configs that come with the package."""
    package = Path(__file__).parent
    stem = Path(name).name if name.endswith(".py") else f"{Path(name).name}.py"
    candidates = [Path(name)]
    if Path(name).parent in (Path(), Path("configs")):  # a mistyped path elsewhere must not train another config
        source = [package.parent / "configs" / stem] if (package.parent / "pyproject.toml").exists() else []
        candidates += [package / "configs" / stem, *source]
    for candidate in candidates:
        if candidate.suffix == ".py" and candidate.is_file():
            return candidate
    raise FileNotFoundError(f"--config {name}: no such file, and no config of that name comes with the package")


def load_file(name: str, variant: str = "") -> Config:
    """The Config that FILE's get_config(variant) returns."""
    return freeze(_get_config(name, variant))


def from_arguments(arguments: list[str]) -> Config:
    """The Config of `--config FILE[:variant] [--config.section.field=value ...]`."""
    chosen, rest = None, []
    waiting = False
    for argument in arguments:
        if waiting or argument.startswith("--config="):
            chosen, waiting = argument.removeprefix("--config="), False
        elif argument == "--config":
            waiting = True
        else:
            rest.append(argument)
    if not chosen:
        raise ValueError("--config FILE[:variant] is needed")
    name, _, variant = chosen.partition(":")
    values = flags.FlagValues()
    try:
        given = _get_config(name, variant)
        config_flags.DEFINE_config_dict("config", given, flag_values=values, sys_argv=["radmae", *rest])
        stray = values(["radmae", *rest])[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{' '.join(rest)}: {error}") from error
    if stray:
        raise ValueError(f"not understood: {' '.join(stray)}")
    return freeze(given)


def _get_config(name: str, variant: str) -> ml_collections.ConfigDict:
    return run_file(find_config(name)).get_config(variant)


def run_file(path: Path) -> Any:
    """The module that a config or study file is, run anew."""
    spec = importlib.util.spec_from_file_location(f"radmae_config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
