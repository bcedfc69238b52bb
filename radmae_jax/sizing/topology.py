"""The name of a topology to its devices, there or not, and its chip."""

import os
from importlib.util import find_spec
from typing import Any

import jax

from radmae_jax.sizing.chips import CHIPS, Chip


def devices_of(name: str) -> tuple[list[Any], Chip | None]:
    """Devices to compile for: `here`, or CHIP:SHAPE of a TPU slice such as v5e:4x4, v6e:16x16 or v5p:4x4x4.

    The chip is None for what is here and in no table. ValueError for an unknown chip or shape, and where libtpu is not
    installed.
    """
    if name == "here":
        return jax.devices(), None
    chip, _, shape = name.partition(":")
    if chip not in CHIPS or not shape:
        raise ValueError(f"--topology {name!r}: must be here, or CHIP:SHAPE such as v5e:4x4; chips: {', '.join(CHIPS)}")
    # There is no TPU to ask for its metadata, and nothing that a second process could disturb.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # Any will do, of the smallest slice: what is compiled for is said below. Without them libtpu prints errors.
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    if find_spec("libtpu") is None:  # the compiler
        raise ValueError(f"--topology {name}: compiling for a TPU needs libtpu; pip install 'radmae_jax[tpu]'")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(name, platform="tpu").devices), CHIPS[chip]
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"--topology {name}: {str(error).splitlines()[0]}") from error
