"""The poster's savings table, computed from a list of sizes and set beside what was printed.

Bühler and Hager, Large-Scale Radiograph Pre-training, table of padding strategies: 639,877 radiographs, patch 48.
"""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from radmae_jax.bench.savings import Savings, savings
from radmae_jax.config import Model
from radmae_jax.data.sizes import Sizes

# name here: (name on the poster, tokens, tokens %, total compute %), as printed.
PUBLISHED = {
    "padded_to_patch": ("patch padding", 9.22e8, 100, 100),
    "fixed": ("fixed size", 2.62e9, 284, 807),
    "poster_dbb": ("DBB", 1.10e9, 119, 142),
}
PUBLISHED_SAVING = 82  # % of "total compute", DBB against fixed size


@dataclass(frozen=True)
class Row:
    """A policy as counted, and as printed."""

    name: str
    tokens: int
    tokens_pct: float
    poster_compute_pct: float
    published_tokens: float
    published_tokens_pct: int
    published_compute_pct: int


@dataclass(frozen=True)
class PosterTable:
    """The table, and what DBB saves against fixed size in each currency."""

    images: int
    left_out: int  # with a side beyond 3,072 pixels
    rows: list[Row]
    saving_pct: float  # in the poster's currency
    published_saving_pct: int
    tokens_saving_pct: float
    flops_saving_pct: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def poster_table(sizes: Sizes) -> PosterTable:
    """The table for sizes on the poster's terms: patch 48, squares of 3,072 pixels, ViT-MAE Base."""
    found: Savings = savings(sizes, Model(), max_side=3072, shapes=())
    rows = [
        Row(policy.name, policy.tokens, policy.tokens_pct, policy.poster_compute_pct, *PUBLISHED[policy.name][1:])
        for policy in found.policies
    ]
    fixed, dbb = found.named("fixed"), found.named("poster_dbb")
    return PosterTable(
        found.sizes.images, found.sizes.left_out, rows, dbb.saving_vs_fixed.poster, PUBLISHED_SAVING,
        100.0 * (1 - dbb.tokens / fixed.tokens), dbb.saving_vs_fixed.flops,
    )  # fmt: skip


def table_of(table: PosterTable) -> Table:
    """The rows, printed values in brackets."""
    shown = Table(title=f"{table.images:,} radiographs; in brackets: as printed", title_justify="left")
    for name in ("padding", "tokens, millions", "tokens %", "tokens % squared"):
        shown.add_column(name, justify="left" if name == "padding" else "right")
    for row in table.rows:
        shown.add_row(
            PUBLISHED[row.name][0],
            f"{row.tokens / 1e6:,.0f} ({row.published_tokens / 1e6:,.0f})",
            f"{row.tokens_pct:.1f} ({row.published_tokens_pct})",
            f"{row.poster_compute_pct:.1f} ({row.published_compute_pct})",
        )
    return shown


def summary_of(table: PosterTable) -> str:
    """The saving in words."""
    words = (
        f"DBB against fixed size saves {table.saving_pct:.1f} % ({table.published_saving_pct}) of what the poster "
        f"calls total compute, the square of tokens %; {table.tokens_saving_pct:.1f} % of the tokens; "
        f"{table.flops_saving_pct:.1f} % of the training FLOPs."
    )
    if table.left_out:
        words += f"\n{table.left_out:,} images with a side beyond 3,072 pixels are left out."
    return words
