"""Devices to a mesh, and arrays to where they live on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_AXES = ("data", "fsdp")
# Leaves smaller than this are kept whole on every device: moving them costs more than it saves.
_SMALLEST_SHARDED = 2**14


def make_mesh(fsdp: int = 1, devices: list[Any] | None = None) -> Mesh:
    """A mesh of axes ("data", "fsdp") over the given devices, all of them by default.

    Axes are Auto: jit places activations, we place what goes in and out (jax.make_mesh alone would say Explicit).
    """
    devices = sorted(devices or jax.devices(), key=_place)
    if len(devices) % fsdp:
        raise ValueError(f"config.train.fsdp is {fsdp}; it must divide the {len(devices)} devices")
    return Mesh(np.asarray(devices).reshape(-1, fsdp), _AXES, axis_types=(AxisType.Auto,) * 2)


def _place(device: Any) -> tuple[int, int, int]:
    """Slices, then processes, stay together: a process's rows of a batch are contiguous, and what "fsdp" gathers stays
    within a slice where it divides one."""
    return getattr(device, "slice_index", 0) or 0, device.process_index, device.id


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """The leading axis, a batch's rows, dealt over every device."""
    return NamedSharding(mesh, PartitionSpec(_AXES))


def by_shape(tree: Any, mesh: Mesh, axes: tuple[str, ...]) -> Any:
    """A sharding for each leaf: its largest divisible dimension over `axes`, small leaves whole.

    The layer axis of scanned leaves (rank 3 and more under "blocks", rank 2 for vectors) is never cut: the scan
    walks along it.
    """
    parts = int(np.prod([mesh.shape[a] for a in axes]))

    def one(path: tuple, leaf: Any) -> NamedSharding:
        scanned = any(getattr(key, "key", None) == "blocks" for key in path)
        free = [d for d in range(1 if scanned else 0, len(leaf.shape)) if leaf.shape[d] % parts == 0]
        if parts == 1 or not free or np.prod(leaf.shape) < _SMALLEST_SHARDED:
            return replicated(mesh)
        cut = max(free, key=lambda d: leaf.shape[d])
        return NamedSharding(mesh, PartitionSpec(*[axes if d == cut else None for d in range(len(leaf.shape))]))

    return jax.tree.map_with_path(one, tree)


def over_fsdp(tree: Any, mesh: Mesh) -> Any:
    """Shardings of parameters, which every call reads."""
    return by_shape(tree, mesh, ("fsdp",))


def over_all(tree: Any, mesh: Mesh) -> Any:
    """Shardings of what only a step's end reads whole: sums of gradients, so that each call ends in a reduce-scatter,
    and the optimizer's moments, so that parameters are all that a step gathers (Rajbhandari et al. 2020, ZeRO)."""
    return by_shape(tree, mesh, _AXES)


def to_global(local: Any, sharding: NamedSharding) -> Any:
    """This process's rows of a batch as global arrays."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)
