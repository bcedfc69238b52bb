"""Where a batch's rows live while a program is traced under `jax.set_mesh`: dealt over all devices, one share each."""

import jax
from jax.sharding import PartitionSpec


def spec_of(rows: int) -> PartitionSpec | None:
    """What cuts the leading axis of so many rows; None where there is one device, or no mesh.

    Rows that the devices do not divide (a panel's one image) are computed by all of them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return None
    return PartitionSpec(mesh.axis_names) if rows % mesh.size == 0 else PartitionSpec()


def keep_rows(x: jax.Array) -> jax.Array:
    """The same [B, ...], each row where it was.

    The compiler would rather cut the channels of some layers, over the devices that these layers' kernels are cut over,
    and exchange activations, of which a batch of radiographs has more bytes than a kernel.
    """
    spec = spec_of(x.shape[0])
    return x if spec is None else jax.lax.with_sharding_constraint(x, spec)
