"""What a chip can do at most, by its vendor's published figures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One device as JAX counts them: its memory and its peaks. Bytes and seconds."""

    name: str
    hbm_bytes: int  # that programs may use
    bf16_flops: float  # a second
    hbm_bandwidth: float  # bytes a second
    link_bandwidth: float  # bytes a second that a chip can receive from others, all links together


_GIB = 2**30
# cloud.google.com/tpu/docs: v5e, v5p and v6e (Trillium), tables "System architecture". Their gigabytes of memory are
# GiB; links are in Gbit/s, one direction of all links. Of v5e's 16 GiB the compiler gives programs 15.75 (its own
# message where one does not fit); what the runtime keeps of the others is taken to be the same share of a GiB.
_RESERVED = _GIB // 4
CHIPS = {
    "v5e": Chip("TPU v5e", 16 * _GIB - _RESERVED, 197e12, 819e9, 1600e9 / 8),
    "v5p": Chip("TPU v5p", 95 * _GIB - _RESERVED, 459e12, 2765e9, 4800e9 / 8),
    "v6e": Chip("TPU v6e", 32 * _GIB - _RESERVED, 918e12, 1640e9, 3584e9 / 8),
}
