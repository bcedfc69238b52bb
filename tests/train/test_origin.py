"""Where the steps of a continued run are in its schedule, and what is said of its learning rate."""

import numpy as np

from radmae_jax.train.continuation import rise_of
from radmae_jax.train.origin import Interval, Origin, evaluation_interval


def test_positions_rates_and_intervals_by_hand():
    """A run continued after step 10, at the second of four epochs of five steps."""
    origin, rates = Origin(10, 5, "state"), np.arange(20, dtype=np.float32)
    assert [origin.position_of(step) for step in (10, 11, 25)] == [5, 6, 20]
    assert origin.total_steps(5, 4) == 25
    np.testing.assert_array_equal(origin.rates(rates), [0] * 10 + list(range(5, 20)))
    np.testing.assert_array_equal(Origin().rates(rates), rates)
    by_epochs = evaluation_interval(-2, 5, origin)
    assert [step for step in range(11, 26) if by_epochs.due(step, 25)] == [15, 25]
    assert [step for step in range(11, 25) if evaluation_interval(4, 5, origin).due(step, 25)] == [12, 16, 20, 24]
    assert not Interval(0).due(25, 25) and not Interval(0).ends(0)


def test_a_rise_of_the_learning_rate_is_said():
    said = "because of the new schedule: docs/continue_a_run.md says how to avoid it"
    assert rise_of(2.5e-5, 1e-4, 1.1e-4) == [f"the learning rate rises 4-fold here {said}"]
    assert rise_of(0.0, 1e-4, None) == [f"the learning rate rises from 0 to 0.0001 here {said}"]
    # Not known; by half at most; falling; as the schedule's own warm-up rises.
    for before, after, usual in ((None, 1.0, 1.0), (1.0, 1.5, 2.0), (1.0, 0.5, 0.6), (1.0, 2.0, 1.0)):
        assert rise_of(before, after, usual) == []
