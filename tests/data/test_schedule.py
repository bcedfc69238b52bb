import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radmae_jax.data.batch import NO_RECORD
from radmae_jax.data.leftovers import choose_moves, group_counts
from radmae_jax.data.schedule import Calls, Schedule, choose_rows, one_pass


@st.composite
def schedules(draw):
    images = draw(st.integers(1, 200))
    buckets = draw(st.integers(1, 6))
    bucket = np.array(draw(st.lists(st.integers(0, buckets - 1), min_size=images, max_size=images)), np.int32)
    lengths = tuple(np.cumsum(draw(st.lists(st.integers(1, 50), min_size=buckets, max_size=buckets))).tolist())
    records = np.arange(100, 100 + images, dtype=np.int32)
    return Schedule(
        records, bucket, lengths, group=draw(st.sampled_from([1, 2, 4, 6, 16])),
        images_per_step=draw(st.integers(1, 300)), seed=draw(st.integers(0, 2**31)), move_up=draw(st.booleans()),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(schedules(), st.integers(0, 50))
def test_an_epoch_visits_every_image_once_in_a_bucket_it_fits(schedule, number):
    epoch = schedule.epoch(number)
    records = epoch.records.ravel()
    np.testing.assert_array_equal(np.sort(records[records != NO_RECORD]), schedule.records)
    own = dict(zip(schedule.records.tolist(), schedule.bucket.tolist(), strict=True))
    for row, bucket in zip(epoch.records, epoch.bucket, strict=True):
        for record in row[row != NO_RECORD].tolist():
            assert own[record] <= bucket if schedule.move_up else own[record] == bucket
    for bucket in range(len(schedule.lengths)):  # fillers only complete a bucket's last group
        assert np.sum(epoch.records[epoch.bucket == bucket] == NO_RECORD) < schedule.group
    np.testing.assert_array_equal(
        np.bincount(epoch.bucket, minlength=len(schedule.lengths)), schedule.groups_per_bucket
    )
    per_step = np.bincount(epoch.step, minlength=schedule.steps_per_epoch)
    assert len(per_step) == schedule.steps_per_epoch and per_step.min() >= 1 and np.ptp(per_step) <= 1
    again = schedule.epoch(number)
    assert all(np.array_equal(a, b) for a, b in zip(epoch, again, strict=True))


@settings(max_examples=100, deadline=None)
@given(schedules(), st.integers(0, 3), st.data())
def test_calls_walk_the_groups_whatever_the_rows(schedule, epoch, data):
    divisors = [n for n in range(1, schedule.group + 1) if schedule.group % n == 0]
    rows = tuple(data.draw(st.sampled_from(divisors)) for _ in schedule.lengths)
    calls, plan = Calls(schedule, rows), schedule.epoch(epoch)
    numbers = [n for step in range(schedule.steps_per_epoch) for n in calls.in_step(epoch, step)]
    assert numbers == list(range(epoch * calls.per_epoch, (epoch + 1) * calls.per_epoch))
    found = [calls.call(n) for n in numbers]
    np.testing.assert_array_equal(np.concatenate([c.records for c in found]), plan.records.ravel())
    for step in range(schedule.steps_per_epoch):
        mine = [calls.call(n) for n in calls.in_step(epoch, step)]
        assert all((c.epoch, c.step, len(c.records)) == (epoch, step, rows[c.bucket]) for c in mine)
        whole = np.concatenate([c.records for c in mine])
        np.testing.assert_array_equal(whole, plan.records[plan.step == step].ravel())


def test_epochs_and_seeds_differ():
    def order(seed, number):
        bucket = np.zeros(64, np.int32)
        return Schedule(np.arange(64, dtype=np.int32), bucket, (9,), 4, 16, seed).epoch(number).records.ravel().tolist()

    assert len({tuple(order(seed, number)) for seed in range(3) for number in range(3)}) == 9


def test_steps_mix_buckets():
    """Every step gets its share of every bucket, to one group: size goes with anatomy."""
    bucket = np.repeat(np.arange(4, dtype=np.int32), 160)
    schedule = Schedule(np.arange(640, dtype=np.int32), bucket, (10, 20, 30, 40), 4, 64, 0)
    epoch = schedule.epoch(0)
    assert schedule.steps_per_epoch == 10
    for step in range(10):
        counts = np.bincount(epoch.bucket[epoch.step == step], minlength=4)
        np.testing.assert_array_equal(counts, [4, 4, 4, 4])


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_leftovers_move_or_are_filled_as_is_cheapest(schedule):
    counts = np.bincount(schedule.bucket, minlength=len(schedule.lengths))
    costs = [
        int(np.sum(np.asarray(group_counts(counts, schedule.group, (*moves, False))) * schedule.lengths))
        for moves in itertools.product([False, True], repeat=len(schedule.lengths) - 1)
    ]
    assert schedule.scheduled_tokens == schedule.group * (min(costs) if schedule.move_up else costs[0])


def test_group_counts_by_hand():
    counts = np.array([5, 6, 2])
    # 5 = 4 + 1 left; 1 + 6 = 7 = 4 + 3 left; 3 + 2 = 5 need two groups of 4.
    assert group_counts(counts, 4, (True, True, False)) == (1, 1, 2)
    assert group_counts(counts, 4, (False, False, False)) == (2, 2, 1)
    # Groups cost 10, 20, 30: all fill 20 + 40 + 30, all move 10 + 20 + 60, the first alone moves 10 + 40 + 30; the
    # second alone, 2 of whose 6 make the last bucket's 2 a whole group: 20 + 20 + 30.
    assert choose_moves(counts, (10, 20, 30), 4) == (False, True, False)
    # A far larger bucket: what is left of the small ones is better filled.
    assert choose_moves(np.array([5, 6, 8]), (10, 20, 900), 4) == (True, False, False)
    assert choose_moves(np.array([1, 1, 2]), (10, 20, 30), 4) == (True, True, False)


def test_one_pass_sees_every_image_once_and_no_empty_call():
    schedule = Schedule(np.arange(40, dtype=np.int32), np.zeros(40, np.int32), (9, 12), 8, 16, 1)
    records = np.array([3, 50, 51, 52, 53], np.int32)
    calls = one_pass(Calls(schedule, (2, 4)), records, np.array([0, 1, 0, 0, 1], np.int32))
    seen = np.concatenate([c.records for c in calls])
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), np.sort(records))
    assert all((c.records >= 0).any() for c in calls)
    assert [c.records.shape for c in calls] == [(2,), (2,), (4,)]


def test_rows_by_hand():
    assert choose_rows((100, 400, 5000), 64, 8, 0, 1000) == (64, 16, 8)  # 8 rows x 100, 2 x 400, and one at least
    assert choose_rows((100, 400), 64, 1, 4, 1000) == (4, 4)
    with pytest.raises(ValueError, match=r"groups of 12 images .* no multiple of the 8 devices"):
        choose_rows((100,), 12, 8, 0, 1000)
    with pytest.raises(ValueError, match="rows is 5"):
        choose_rows((100,), 16, 1, 5, 1000)


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        Schedule(np.empty(0, np.int32), np.empty(0, np.int32), (9,), 4, 16, 0)
