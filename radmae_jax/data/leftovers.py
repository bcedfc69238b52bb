"""Images of each bucket to whole groups: what does not fill a group moves up to the next bucket or is filled up."""

import numpy as np


def choose_moves(counts: np.ndarray, lengths: tuple[int, ...], group: int) -> tuple[bool, ...]:
    """Which buckets' leftovers move up to the next larger bucket, the others' last groups being completed with filler
    rows, so that an epoch computes the fewest tokens.

    Dynamic programming over the buckets that fill: between two of them all leftovers move up. Every fill begins anew,
    so the least cost of the first j buckets, the j-th filling, is the least over the fill before it.

    Args:
      counts: images of each bucket, ascending; lengths: tokens of each.
    """
    if group == 1:
        return (False,) * len(lengths)
    images = [int(n) for n in counts]
    least: list[int | None] = [0] + [None] * len(lengths)  # cost of the first j buckets, the j-th filling
    before = [0] * (len(lengths) + 1)  # the fill before it
    for first in range(len(lengths)):
        cost, carried = least[first], 0
        assert cost is not None  # of all before: each bucket may fill
        for at in range(first, len(lengths)):
            members = images[at] + carried
            filled = cost + -(-members // group) * group * lengths[at]
            known = least[at + 1]
            if known is None or filled < known:
                least[at + 1], before[at + 1] = filled, first
            cost += members // group * group * lengths[at]
            carried = members % group
    moves, at = [True] * len(lengths), len(lengths)
    while at > 0:
        moves[at - 1] = False
        at = before[at]
    return tuple(moves)


def group_counts(counts: np.ndarray, group: int, moves: tuple[bool, ...]) -> tuple[int, ...]:
    """Groups of each bucket that `counts` images a bucket make, where leftovers of some move up."""
    groups, carried = [], 0
    for count, up in zip(counts, moves, strict=True):
        members = int(count) + carried
        groups.append(members // group if up else -(-members // group))
        carried = members % group if up else 0
    return tuple(groups)


def scheduled_tokens(counts: np.ndarray, lengths: tuple[int, ...], group: int) -> int:
    """Tokens an epoch computes in whole groups."""
    groups = group_counts(counts, group, choose_moves(counts, lengths, group))
    return group * sum(many * length for many, length in zip(groups, lengths, strict=True))
