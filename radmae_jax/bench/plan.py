"""Image sizes and a configuration to what an epoch will compute, before anything runs: numpy only, no jax."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from radmae_jax.config import Config
from radmae_jax.data.binning import count_tokens, make_table, token_grids
from radmae_jax.data.leftovers import scheduled_tokens
from radmae_jax.data.optimum import optimal_tables
from radmae_jax.data.schedule import training_schedule
from radmae_jax.model.flops import TRAINING_FACTOR, classifier_flops, training_flops

# What is tried for the proposal, and how much more than the least scheduled tokens it may cost to compile fewer
# programs and to keep larger groups.
_SHAPES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 36)
_GROUPS = (4, 8, 16, 32, 64)
_WITHIN = 3.0  # points of tokens


@dataclass(frozen=True)
class Bucket:
    """One length of the table."""

    tokens: int
    images: int  # that fit it and no smaller one
    groups: int  # scheduled, leftovers of smaller buckets included
    full_pct: float  # real tokens of its images, in % of the tokens computed for them


@dataclass(frozen=True)
class Proposal:
    """The fewest programs and largest groups within 3 points of the least tokens found."""

    shapes: int
    group: int
    quantum: int
    ideal_pct: float
    scheduled_pct: float


@dataclass(frozen=True)
class Plan:
    """What one epoch computes. Percentages are of the real tokens, images padded to whole patches."""

    images: int
    unique_sizes: int
    beyond: int  # images larger than the largest bucket, also of those that are not trained on
    beyond_policy: str  # what is done with them: downscale | extra (refuse raises)
    policy: str
    pad_tokens: str
    patch: int
    shapes: int
    programs: int
    group: int
    images_per_step: int
    groups: int
    steps: int
    filler_rows: int
    tokens: int  # real
    ideal_tokens: int  # every image at its bucket's length
    scheduled_tokens: int  # leftovers moved up, or completed with filler rows, included
    ideal_pct: float
    scheduled_pct: float
    training_flops: float  # of the scheduled epoch
    fixed_tokens_pct: float  # every image padded to a square of the longest side there is
    tokens_saved_pct: float  # scheduled against fixed
    flops_saved_pct: float  # training FLOPs, scheduled against fixed
    buckets: list[Bucket]
    proposal: Proposal | None  # for the tokens policy
    image_tokens: np.ndarray  # int64 [images], of each

    def to_json(self) -> dict[str, Any]:
        figures = asdict(self)
        del figures["image_tokens"]
        return figures


def make_plan(config: Config, heights: np.ndarray, widths: np.ndarray, counts: np.ndarray | None = None) -> Plan:
    """Plans an epoch over images of these sizes (int arrays [N], pixels).

    counts: 1 for images that are trained on, 0 for those that only must find a bucket (validation, test); None: all.
    """
    patch = config.model.patch
    counts = np.ones(len(heights), np.int64) if counts is None else counts
    table = make_table(config.bins, patch, heights, widths, counts)
    trained = np.flatnonzero(counts).astype(np.int32)
    beyond = int(table.is_beyond(heights, widths).sum())
    sizes = table.fit(heights, widths)
    proposal = None
    if table.policy == "tokens":
        proposal = propose(*count_tokens(heights, widths, patch, counts), config.bins.quantum)
    bucket = table.assign(sizes[:, 0], sizes[:, 1])
    schedule = training_schedule(config, table, trained, bucket)
    bucket, (heights, widths) = bucket[trained], sizes[trained].T
    lengths = np.asarray(table.lengths, np.int64)
    real = token_grids(heights, widths, patch).prod(axis=1, dtype=np.int64)
    tokens, ideal = int(real.sum()), int(lengths[bucket].sum())
    groups = np.asarray(schedule.groups_per_bucket)
    flops = float(np.sum(groups * schedule.group * _training_flops(lengths, config)))
    sides = token_grids(np.array([heights.max()]), np.array([widths.max()]), patch)
    largest = max(int(sides.max()) ** 2, int(lengths[-1]))
    fixed_flops = len(real) * float(_training_flops(np.asarray(largest), config))
    buckets = []
    for at, length in enumerate(table.lengths):
        own = real[bucket == at]
        full = 100.0 * float(own.sum()) / (length * len(own)) if len(own) else 0.0
        buckets.append(Bucket(length, len(own), int(groups[at]), full))
    return Plan(
        images=len(real),
        unique_sizes=len(np.unique(np.stack([heights, widths], axis=1), axis=0)),
        beyond=beyond,
        beyond_policy=table.beyond,
        policy=table.policy,
        pad_tokens=table.pad_tokens,
        patch=patch,
        shapes=table.shapes,
        programs=len(table.lengths),
        group=schedule.group,
        images_per_step=config.train.images_per_step,
        groups=int(groups.sum()),
        steps=schedule.steps_per_epoch,
        filler_rows=int(groups.sum()) * schedule.group - len(real),
        tokens=tokens,
        ideal_tokens=ideal,
        scheduled_tokens=schedule.scheduled_tokens,
        ideal_pct=100.0 * ideal / tokens,
        scheduled_pct=100.0 * schedule.scheduled_tokens / tokens,
        training_flops=flops,
        fixed_tokens_pct=100.0 * largest * len(real) / tokens,
        tokens_saved_pct=100.0 * (1 - schedule.scheduled_tokens / (largest * len(real))),
        flops_saved_pct=100.0 * (1 - flops / fixed_flops),
        buckets=buckets,
        proposal=proposal,
        image_tokens=real,
    )


def _training_flops(tokens: np.ndarray, config: Config) -> np.ndarray:
    """FLOPs of the task's model; a head whose classes are not named is not counted."""
    if config.task.kind == "classify":
        return TRAINING_FACTOR * classifier_flops(tokens, config.model, sum(map(len, config.task.classes)))
    return training_flops(tokens, config.model)


def propose(tokens: np.ndarray, images: np.ndarray, quantum: int = 1) -> Proposal:
    """K and G for an archive: small archives leave many leftovers in many buckets of large groups.

    Args:
      tokens: distinct, ascending, int [M]; images: of each, int [M], 0 where a table must only hold them.
    """
    total = float(np.sum(tokens.astype(np.float64) * images))
    found = []
    for group in _GROUPS:
        tables = optimal_tables(tokens, images, max(_SHAPES), quantum=quantum, group=group)
        for shapes in _SHAPES:
            lengths = tables[min(shapes, len(tables)) - 1]
            counts = np.bincount(np.searchsorted(lengths, tokens), images, len(lengths)).astype(np.int64)
            ideal = float(np.sum(counts * np.asarray(lengths, np.float64)))
            scheduled = scheduled_tokens(counts, lengths, group)
            found.append(Proposal(len(lengths), group, quantum, 100.0 * ideal / total, 100.0 * scheduled / total))
    least = min(p.scheduled_pct for p in found)
    good = [p for p in found if p.scheduled_pct <= least + _WITHIN]
    return min(good, key=lambda p: (p.shapes, -p.group))


def table_of(plan: Plan) -> Table:
    """The buckets as a table to print."""
    table = Table(title=f"Buckets: {plan.policy}, patch {plan.patch}", title_justify="left")
    for name in ("tokens", "images", "groups", "rows an epoch", "images' own tokens %"):
        table.add_column(name, justify="right")
    for b in plan.buckets:
        table.add_row(
            f"{b.tokens:,}", f"{b.images:,}", f"{b.groups:,}", f"{b.groups * plan.group:,}", f"{b.full_pct:.1f}"
        )
    return table


def summary_of(plan: Plan) -> str:
    """The figures in words."""
    lines = [
        f"{plan.images:,} images of {plan.unique_sizes:,} sizes, {plan.tokens:,} tokens of "
        f"{plan.patch} x {plan.patch} pixels",
        *([f"{plan.beyond:,} images are beyond the largest bucket: {plan.beyond_policy}"] if plan.beyond else []),
        f"{plan.shapes} shapes, {plan.programs} programs; an epoch: {plan.groups:,} groups of {plan.group}, "
        f"{plan.steps:,} steps of about {plan.images_per_step:,} images, {plan.filler_rows:,} empty rows (images that "
        "do not fill a group are computed in a larger bucket or beside empty rows; none is left out)",
        f"tokens computed: {plan.ideal_pct:.1f} % of the real ones in the ideal, {plan.scheduled_pct:.1f} % as "
        f"scheduled; padded to one fixed size: {plan.fixed_tokens_pct:.1f} %",
        f"saved against fixed size: {plan.tokens_saved_pct:.1f} % of the tokens, {plan.flops_saved_pct:.1f} % of the "
        f"training FLOPs ({plan.training_flops:.3g} FLOPs an epoch)",
    ]
    if plan.proposal and plan.scheduled_pct > plan.proposal.scheduled_pct + _WITHIN:
        lines.append(in_words(plan.proposal))
    return "\n".join(lines)


def in_words(proposal: Proposal) -> str:
    """The proposal as settings, and what they cost."""
    quantum = f" --config.bins.quantum={proposal.quantum}" if proposal.quantum > 1 else ""
    return (
        f"proposed for training: --config.bins.shapes={proposal.shapes} --config.bins.group={proposal.group}{quantum} "
        f'--config.bins.lengths="()", the fewest programs within {_WITHIN:.0f} points of the fewest tokens found '
        f"(compiling not counted): "
        f"{proposal.ideal_pct:.1f} % of the real tokens, {proposal.scheduled_pct:.1f} % in whole groups"
    )


def draw_plan(plan: Plan, path: Path) -> None:
    """A PNG: the archive's token counts with the bucket lengths over them, and how full each bucket is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 2))
    upper.hist(plan.image_tokens, bins=120, color="#4878a8")
    for b in plan.buckets:
        upper.axvline(b.tokens, color="#c44e52", linewidth=0.8)
    upper.set_xlim(0, plan.buckets[-1].tokens * 1.02)
    upper.set_ylabel("images")
    upper.set_xlabel(f"tokens ({plan.patch} x {plan.patch} pixels) of an image; red: bucket lengths")
    upper.set_title(
        f"{plan.images:,} images in {plan.programs} bucket lengths ({plan.policy}): {plan.scheduled_pct:.1f} % of the "
        f"real tokens computed, fixed size {plan.fixed_tokens_pct:.1f} %",
        fontsize=11,
    )
    names = [f"{b.tokens:,}\n{b.images:,}" for b in plan.buckets]
    lower.bar(names, [100] * len(names), color="#d9dde3", label="padding")
    lower.bar(names, [b.full_pct for b in plan.buckets], color="#4878a8", label="image")
    lower.tick_params(axis="x", labelsize=8 if len(names) <= 20 else 5)
    lower.set_ylabel("of the bucket's tokens, %")
    lower.set_xlabel("bucket: tokens, and images that fit it")
    lower.legend(loc="lower right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
