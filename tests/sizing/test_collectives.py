"""What devices receive, counted in programs whose exchanges are known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from radmae_jax.sizing.collectives import received_bytes
from radmae_jax.train import sharding

_LAYERS, _WIDTH, _FLOAT = 12, 256, 4


@pytest.fixture(scope="module")
def scanned():
    """The gradient of 12 scanned layers, parameters over 2 of 8 devices, gradients over all 8."""
    mesh = sharding.make_mesh(2)

    def loss(weights, x):
        return jnp.sum(jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, weights)[0] ** 2)

    def shape(*dimensions, over):
        return jax.ShapeDtypeStruct(dimensions, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*over)))

    weights = shape(_LAYERS, _WIDTH, _WIDTH, over=(None, "fsdp"))
    x = shape(64, _WIDTH, over=(("data", "fsdp"),))
    out = NamedSharding(mesh, PartitionSpec(None, ("data", "fsdp")))
    return jax.jit(jax.grad(loss), out_shardings=out).lower(weights, x).compile().as_text()


def test_loops_count_as_often_as_they_run(scanned):
    """Each layer is gathered forward and backward; each layer's gradient is summed over all devices."""
    layer = _WIDTH * _WIDTH * _FLOAT  # of which a device has half
    assert received_bytes(scanned) == {"all-gather": 2 * _LAYERS * layer // 2, "all-reduce": _LAYERS * layer}


_ASYNCHRONOUS = """
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %limit = u32[]{:T(128)} constant(9)
  %p = (u32[], f32[8]) parameter(0)
  %i = u32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%fused (p: bf16[4,16]) -> (bf16[4,16], bf16[16,16]) {
  %p = bf16[4,16]{1,0} parameter(0)
  ROOT %gather.1 = bf16[16,16]{1,0} all-gather(%p), channel_id=3, dimensions={0}
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = bf16[4,16]{1,0} parameter(0)
  %start = (bf16[4,16], bf16[16,16]) fusion(%p), kind=kCustom, calls=%fused
  %gather.2 = bf16[16,16]{1,0} all-gather(%p), channel_id=3, dimensions={0}
  %whole = f32[64]{0} parameter(1)
  %part = f32[8]{0} reduce-scatter(%whole), channel_id=4, dimensions={0}, to_apply=%sum
  %other = s32[] constant(128)
  %two = u32[]{:T(128)} constant(2)
  %i = u32[] get-tuple-element(%p), index=0
  %next = u32[] add(%i, %two)
  ROOT %both = (u32[], f32[8]) tuple(%next, %part)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %loop = (s32[], f32[8]) while(%x), condition=%condition, body=%body
  %begun = (f32[8]{0}, f32[32]{0}) all-gather-start(%x), channel_id=5, dimensions={0}
  %ended = f32[32]{0} all-gather-done(%begun)
  %pair = (f32[8], s8[3]) all-reduce(%x, %y), channel_id=6, to_apply=%sum
}
"""


def test_what_a_tpu_compiler_writes_is_read_too():
    """A loop's count from its condition and its step (0, 2, 4, 6, 8), one exchange in several parts, starts and ends,
    several arrays at once."""
    found = received_bytes(_ASYNCHRONOUS)
    assert found == {
        "all-gather": 5 * (16 - 4) * 16 * 2 + (32 - 8) * 4,
        "reduce-scatter": 5 * (64 - 8) * 4,
        "all-reduce": 8 * 4 + 3,
    }
