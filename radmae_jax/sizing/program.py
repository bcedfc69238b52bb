"""A lowered program to what it needs of one device: compiled once, its figures kept on disk.

The compiled program itself is kept by JAX's own cache, where one is set (`jax_compilation_cache_dir`).
"""

import hashlib
import json
import os
import re
import warnings
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from radmae_jax.sizing.collectives import received_bytes
from radmae_jax.train.blueprint import Lowered
from radmae_jax.train.programs import hbm_bytes, too_large

_READING = "3"  # how figures are read off a compilation; another number where that changes
_REFUSED = re.compile(r"Used ([\d.]+)([KMG]) of")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program. Bytes are of one device."""

    program_bytes: int  # arguments + outputs + temporaries - aliased; as far as known where it was refused
    temporary_bytes: int
    received: dict[str, int]  # from other devices, by kind of collective
    seconds: float  # that compiling took, when it was done
    refused: str = ""  # the compiler's first words where the program does not fit the device
    kept: bool = False  # whether the figures are of an earlier compilation


def compile_or_read(lowered: Lowered, topology: str, folder: Path | None) -> Compiled:
    """Compiles, or reads what compiling the same program for the same topology and compiler gave.

    Errors of the compiler other than a lack of memory are raised.
    """
    path = folder / f"{_key(lowered, topology)}.json" if folder else None
    if path is not None and path.exists():
        return replace(Compiled(**json.loads(path.read_text())), kept=True)
    try:
        with warnings.catch_warnings():
            # JAX keeps programs for devices that are described only, but cannot load them without the devices.
            warnings.filterwarnings("ignore", "Error reading persistent compilation cache entry")
            compiled, seconds = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not too_large(error):
            raise
        said = str(error)
        used = _REFUSED.search(said)
        need = int(float(used[1]) * _UNITS[used[2]]) if used else 0
        found = Compiled(need, 0, {}, 0.0, said.splitlines()[0])
    else:
        memory = compiled.memory_analysis()
        temporary = 0 if memory is None else memory.temp_size_in_bytes
        found = Compiled(hbm_bytes(memory), temporary, received_bytes(compiled.as_text() or ""), seconds)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(asdict(found)))
        whole.replace(path)
    return found


def _key(lowered: Lowered, topology: str) -> str:
    """A hash of all that a compilation depends on: program, devices, compiler and its options."""
    try:
        compiler = version("libtpu")
    except PackageNotFoundError:
        compiler = ""
    options = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    kind = lowered.stage.as_text(), topology, jax.devices()[0].device_kind
    parts = [*kind, _READING, jax.__version__, version("jaxlib"), compiler, *options]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
