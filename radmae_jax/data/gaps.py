"""Finds gaps in entropy-coded data: zeros where a copy broke off, or where a block of a disk was lost."""

import re

_ZEROS = re.compile(rb"\0{24,}")
GAP = 200  # bytes; half a block of a disk is 256
_GAPS = 4  # more of them are a pattern of the image


def longest_gap(data: bytes, start: int, stop: int, least: int) -> int:
    """The longest run of zeros that is no picture, in bytes; 0 where there is none.

    What codes noise gives no run of zeros. A regular pattern, such as a checkerboard or a ramp, gives many and of all
    lengths; a gap stands alone.

    Args:
      start, stop: where the coded data are.
      least: bytes of 0 that are a gap.
    """
    runs = [found.end() - found.start() for found in _ZEROS.finditer(data, start, stop)]
    gaps = sum(run >= least for run in runs)
    return max(runs) if 0 < gaps <= _GAPS and gaps == len(runs) else 0
