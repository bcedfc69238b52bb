"""Times chunked against dense attention, forward and backward, on the device that is here.

    python tools/attention_times.py [--lengths 65 145 257 401 577 1025 2049] [--dtype float32]

Prints milliseconds of each (median of interleaved repeats) and their ratio; `auto` in radmae_jax/model/attention.py
takes its threshold from it.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from radmae_jax.model.attention import attend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[65, 145, 257, 401, 577, 1025, 2049])
    parser.add_argument("--tokens", type=int, default=8192, help="rows times length of a call")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=32, help="of a head")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {options.dtype}, {options.heads} heads of {options.width}")
    for length in options.lengths:
        rows = max(1, options.tokens // length)
        shape = (rows, length, options.heads, options.width)
        query, key, value = (jax.random.normal(jax.random.key(i), shape, options.dtype) for i in range(3))
        lengths = jnp.full(rows, length, jnp.int32)
        steps = {}
        for name in ("dense", "chunked"):

            def loss(q, k, v, name=name, lengths=lengths):
                return jnp.sum(attend(q, k, v, lengths, name).astype(jnp.float32) ** 2)

            steps[name] = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
            jax.block_until_ready(steps[name](query, key, value))
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(options.repeats):
            for name, step in steps.items():
                began = time.perf_counter()
                jax.block_until_ready(step(query, key, value))
                seconds[name].append(time.perf_counter() - began)
        dense, chunked = (statistics.median(seconds[name]) * 1e3 for name in ("dense", "chunked"))
        times = f"dense {dense:8.1f} ms  chunked {chunked:8.1f} ms  {dense / chunked:5.2f}"
        print(f"{length:6d} tokens x {rows:4d} rows: {times}")


if __name__ == "__main__":
    main()
