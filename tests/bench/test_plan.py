import numpy as np
import pytest

from radmae_jax.bench.plan import draw_plan, make_plan, propose, summary_of
from radmae_jax.config import Bins, Config
from radmae_jax.config_file import load_file
from radmae_jax.data.binning import make_table
from radmae_jax.data.dataset import training_schedule
from radmae_jax.data.sizes import poster_sizes


@pytest.fixture(scope="module")
def poster():
    heights, widths, counts = poster_sizes()
    return np.repeat(heights, counts), np.repeat(widths, counts)


def test_the_posters_archive(poster):
    plan = make_plan(load_file("poster_pretrain"), *poster)
    assert (plan.images, plan.programs, plan.steps) == (639_877, 16, 625)
    assert plan.tokens == pytest.approx(9.227e8, rel=1e-4)
    assert plan.ideal_pct == pytest.approx(105.923, abs=0.001)
    assert plan.ideal_pct <= plan.scheduled_pct < plan.ideal_pct + 0.1
    assert plan.fixed_tokens_pct == pytest.approx(284.04, abs=0.01)
    assert plan.flops_saved_pct == pytest.approx(71.1, abs=0.1)
    replica = make_plan(load_file("poster_pretrain", "replica"), *poster)
    assert (replica.shapes, replica.programs) == (36, 20)
    assert replica.ideal_pct == pytest.approx(119.29, abs=0.01)
    assert replica.flops_saved_pct == pytest.approx(66.8, abs=0.1)


def test_a_small_archive_is_told_what_it_pays_and_offered_less(poster, tmp_path):
    """300 images in groups of 64: 130 %, where 16 lengths that do not know of groups would take 134 %."""
    chosen = np.random.default_rng(0).choice(len(poster[0]), 300, replace=False)
    heights, widths = poster[0][chosen], poster[1][chosen]
    plan = make_plan(Config(bins=Bins(shapes=16, group=64)), heights, widths)
    assert plan.scheduled_pct == pytest.approx(129.59, abs=0.01) and plan.scheduled_pct > plan.ideal_pct + 2
    blind = make_table(Bins(shapes=16, group=1), 48, heights, widths).lengths
    unaware = make_plan(Config(bins=Bins(lengths=blind, group=64)), heights, widths)
    assert unaware.scheduled_pct == pytest.approx(134.42, abs=0.01)
    assert make_plan(Config(bins=Bins(shapes=16, group=16)), heights, widths).scheduled_pct < 106.5
    assert plan.proposal is not None and plan.proposal.scheduled_pct < plan.scheduled_pct
    better = make_plan(Config(bins=Bins(shapes=plan.proposal.shapes, group=plan.proposal.group)), heights, widths)
    assert better.scheduled_pct == pytest.approx(plan.proposal.scheduled_pct)
    draw_plan(plan, tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_the_plan_is_what_the_schedule_deals(poster):
    heights, widths = poster[0][::640], poster[1][::640]
    config = Config(bins=Bins(shapes=6, group=8))
    plan = make_plan(config, heights, widths)
    table = make_table(config.bins, 48, heights, widths)
    records = np.arange(len(heights), dtype=np.int32)
    epoch = training_schedule(config, table, records, table.assign(heights, widths)).epoch(3)
    computed = int((np.asarray(table.lengths)[epoch.bucket] * 8).sum())
    assert (plan.scheduled_tokens, plan.groups) == (computed, len(epoch.bucket))
    assert plan.filler_rows == int((epoch.records < 0).sum())
    assert f"{plan.scheduled_pct:.1f} %" in summary_of(plan)


def test_what_is_not_trained_on_must_still_find_a_bucket():
    """300 training images of 100 tokens, one larger one to validate on: a proposal of one length would be far off."""
    heights = np.array([480] * 300 + [3072])
    counts = np.array([1] * 300 + [0])
    plan = make_plan(Config(bins=Bins(shapes=2, group=64)), heights, heights, counts)
    assert (plan.images, [b.tokens for b in plan.buckets], plan.tokens) == (300, [100, 4096], 30_000)
    assert plan.proposal is not None and plan.proposal.shapes == 2
    bins = Bins(lengths=(100,), beyond="downscale", group=64)
    plan = make_plan(Config(bins=bins), heights, heights, counts)
    assert (plan.beyond, plan.programs) == (1, 1) and "1 images are beyond" in summary_of(plan)


def test_the_largest_counts_a_file_may_hold_do_not_overflow():
    proposal = propose(np.array([10**7, 2 * 10**7]), np.array([10**12, 10**12]))
    assert proposal.shapes == 2 and proposal.scheduled_pct == pytest.approx(100)
