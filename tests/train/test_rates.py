"""Learning rates by hand, and the settings that do not go together."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from radmae_jax.config import Config, Optim, Train
from radmae_jax.config_checks import validate
from radmae_jax.train.optim import learning_rates

_STABLE = Optim(learning_rate=0.8, end_learning_rate=0.2, schedule="warmup_stable_decay")


@pytest.mark.parametrize(
    "warmup, decay, expected",
    [
        (1.0, 1.5, [0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),  # the next would be 0.2
        (0.5, 0.0, [0, 0.4, *[0.8] * 10]),
        (0.0, 0.25, [*[0.8] * 11, 0.8]),  # one step of decay: it begins at the constant rate
        (0.0, 3.0, [0.8 - 0.6 * n / 12 for n in range(12)]),
        (2.0, 1.0, [*[0.1 * n for n in range(8)], 0.8, 0.65, 0.5, 0.35]),
        (3.0, 0.0, [0.8 * n / 12 for n in range(12)]),
        (0.0, 0.0, [0.8] * 12),
    ],
)
def test_warmup_stable_decay_by_hand(warmup, decay, expected):
    """Three epochs of four steps."""
    rates = learning_rates(replace(_STABLE, warmup_epochs=warmup, decay_epochs=decay), 4, 3)
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_halves_of_odd_epochs_do_not_overlap():
    """Warm-up and decay of half an epoch of 3 steps are rounded to 2 steps each; the warm-up keeps its own."""
    rates = learning_rates(replace(_STABLE, warmup_epochs=0.5, decay_epochs=0.5), 3, 1)
    np.testing.assert_allclose(rates, [0, 0.4, 0.8], rtol=1e-6)


def test_more_epochs_leave_the_rates_before_the_decay_bitwise_the_same():
    short, long = (replace(_STABLE, warmup_epochs=1.5, decay_epochs=decay) for decay in (0.0, 2.0))
    before = learning_rates(short, 7, 3)
    np.testing.assert_array_equal(before, learning_rates(long, 7, 5)[: len(before)])
    np.testing.assert_array_equal(before, learning_rates(long, 7, 50)[: len(before)])


def test_cosine_is_bitwise_what_it_was():
    for warmup, optax_schedule in (
        (1.0, optax.warmup_cosine_decay_schedule(0.0, 1e-3, 4, 12, 1e-5)),
        (0.0, optax.cosine_decay_schedule(1e-3, 12, 1e-5 / 1e-3)),
        (3.0, optax.linear_schedule(0.0, 1e-3, 12)),
    ):
        rates = learning_rates(Optim(learning_rate=1e-3, warmup_epochs=warmup), 4, 3)
        np.testing.assert_array_equal(rates, jax.jit(jax.vmap(optax_schedule))(np.arange(12)))


@pytest.mark.parametrize(
    "optim, message",
    [
        (Optim(decay_epochs=1.0), "decay_epochs is 1.0; config.optim.schedule 'cosine' decays over all epochs"),
        (Optim(schedule="linear"), "optim.schedule is 'linear'; it must be one of cosine, warmup_stable_decay"),
        (replace(_STABLE, decay_epochs=11.0), "optim.decay_epochs is 11.0; it must be from 0.0 to 10"),
        (replace(_STABLE, decay_epochs=-0.5), "optim.decay_epochs is -0.5; it must be from 0.0 to 10"),
        (
            replace(_STABLE, warmup_epochs=6.0, decay_epochs=4.5),
            "warmup_epochs is 6.0 and config.optim.decay_epochs is 4.5; together they must be at most config.train.ep",
        ),
    ],
)
def test_rates_that_cannot_be_are_named(optim, message):
    with pytest.raises(ValueError, match=message):
        validate(Config(optim=optim))


def test_warmup_and_decay_may_fill_all_epochs():
    validate(Config(optim=replace(_STABLE, warmup_epochs=5.0, decay_epochs=5.0)))
    rounded = replace(_STABLE, warmup_epochs=0.7, decay_epochs=0.3000000000000003)  # as sums of fractions are
    validate(Config(optim=rounded, train=Train(epochs=1)))
