"""Trees of arrays to sums and hashes of their bits: equal only where nothing has changed."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.jit
def _leaf_sums(leaves: list[jax.Array]) -> list[jax.Array]:
    """A sum of each leaf's bits, weighted by position so that swapped values show; uint32, wrapping."""

    def one(leaf: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32).ravel()
        weights = jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(2) + jnp.uint32(1)
        return jnp.sum(bits * weights, dtype=jnp.uint32)

    return [one(leaf) for leaf in leaves]


def bit_sums(leaves: dict[str, jax.Array]) -> dict[str, int]:
    """The bit sum of every 32-bit leaf, by name; independent of how the arrays are sharded."""
    sums = jax.device_get(_leaf_sums(list(leaves.values())))
    return {name: int(value) for name, value in zip(leaves, sums, strict=True)}


def digest_of(sums: dict[str, int]) -> str:
    """sha256 over the bit sums of a state, by name: equal only for the same state."""
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their path, such as .params['head']['bias'], in a State or in a dictionary of its parts."""
    named = jax.tree.leaves_with_path(tree)
    parts = [part.key if isinstance(part := path[0], jax.tree_util.DictKey) else part.name for path, _ in named]
    rest = [jax.tree_util.keystr(path[1:]) for path, _ in named]
    return {f".{part}{name}": leaf for part, name, (_, leaf) in zip(parts, rest, named, strict=True)}


def fingerprint(tree: Any) -> str:
    """sha256 over the bytes of every leaf, in order: equal only where every bit is."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
