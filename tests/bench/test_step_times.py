"""Programs timed for real, small ones, and what is made of the seconds, by hand."""

import json

import numpy as np
import pytest

from radmae_jax.bench.savings import savings, with_seconds
from radmae_jax.bench.step_times import StepTimes, Timed, epoch_seconds, ratios
from radmae_jax.cli import main
from radmae_jax.config import Model
from radmae_jax.model.flops import training_flops

MODEL = Model()


def _times(seconds: dict[int, tuple[float, ...]]) -> StepTimes:
    programs = (Timed(n, 1, 0.0, each, float(training_flops(n, MODEL))) for n, each in sorted(seconds.items()))
    return StepTimes("a device", "float32", "dense", tuple(programs))


def test_seconds_of_an_epoch_by_hand():
    sizes = tuple(np.array(column) for column in ((48, 96, 96), (48, 48, 96), (10, 2, 1)))  # 1, 2 and 4 tokens
    found = savings(sizes, MODEL, shapes=(1, 2))
    assert found.named("tokens_2").lengths == (1, 4)
    times = _times({1: (1.0, 3.0, 2.0), 4: (10.0, 20.0, 30.0)})
    assert times.of_epoch(found.named("tokens_2"), found.images["tokens_2"]) == (40.0, 90.0, 110.0)
    assert times.of_epoch(found.named("fixed"), found.images["fixed"]) == (130.0, 260.0, 390.0)
    assert times.of_epoch(found.named("padded_to_patch"), found.images["padded_to_patch"]) is None
    assert times.of_epoch(found.named("poster_dbb"), found.images["poster_dbb"]) is None
    seconds, whole = epoch_seconds(found, times)
    # One shape is that of `fixed`; two bins have lengths 2 and 4, and 2 was not measured.
    assert seconds == {"fixed": 260.0, "grid_1": 260.0, "tokens_1": 260.0, "tokens_2": 90.0}
    measured = with_seconds(found, seconds, whole)
    two, fixed = measured.named("tokens_2"), measured.named("fixed")
    assert two.saving_vs_fixed.seconds == pytest.approx(100 * (1 - 90 / 260))
    assert two.seconds_pct == pytest.approx(100 * 90 / whole)
    assert fixed.saving_vs_fixed.seconds == 0 and measured.named("poster_dbb").seconds_pct is None
    assert measured.named("padded_to_patch").seconds_pct is None  # an estimate
    # 10 x 2 s, 2 images of 2 tokens somewhere between 2 s and 20 s, and 20 s.
    assert 44 < whole < 80
    (ratio,) = [r for r in ratios(found, times) if r.faster == "tokens_2"]
    assert ratio.repeats == pytest.approx([130 / 40, 260 / 90, 390 / 110]) and ratio.median == 130 / 40
    assert ratio.predicted == pytest.approx(found.named("fixed").flops_pct / found.named("tokens_2").flops_pct)


def test_a_price_meets_what_was_measured_and_never_falls():
    times = _times({100: (2.0,), 200: (1.0,), 400: (9.0,)})  # a shorter length that is slower is not believed
    price = times.price(MODEL, 10_000)
    assert price(np.array([100, 400])) == pytest.approx([2.0, 9.0], rel=0.01)
    assert np.all(np.diff(price(np.arange(1, 10_000))) >= 0)
    per_flop = 9.0 / float(training_flops(400, MODEL))
    assert price(np.array([8000])) == pytest.approx(per_flop * float(training_flops(8000, MODEL)), rel=0.01)
    assert price(np.array([[1, 50], [400, 3]])).shape == (2, 2)


def test_the_command_times_real_programs(small_model, tmp_path):
    (tmp_path / "s.csv").write_text("height,width,count\n16,16,30\n24,24,10\n16,40,5\n40,40,3\n")
    model = [
        f"--config.model.{name}={getattr(small_model, name)}"
        for name in ("variant", "width", "layers", "heads", "decoder_width", "decoder_layers", "decoder_heads", "patch")
    ]
    code = main(
        ["bench", "savings", "--sizes", str(tmp_path / "s.csv"), "--config=demo", *model, "--shapes", "2",
         "--measure", "fixed", "tokens_2", "--repeats", "2", "--json", str(tmp_path / "o.json"),
         "--markdown", str(tmp_path / "o.md")]
    )  # fmt: skip
    assert code == 0
    figures = json.loads((tmp_path / "o.json").read_text())
    by_name = {policy["name"]: policy for policy in figures["policies"]}
    measured = figures["measured"]
    lengths = sorted({*by_name["fixed"]["lengths"], *by_name["tokens_2"]["lengths"]})
    assert [p["tokens"] for p in measured["programs"]] == lengths and lengths[-1] == 25
    for program in measured["programs"]:
        assert program["rows"] == 8  # one a device
        assert len(program["seconds_per_image"]) == 2
        assert min(program["seconds_per_image"]) > 0 and program["compile_seconds"] > 0
    for name in ("fixed", "tokens_2"):
        assert by_name[name]["seconds_pct"] > 0
    for name in ("padded_to_patch", "poster_dbb"):
        assert by_name[name]["seconds_pct"] is None and by_name[name]["saving_vs_fixed"]["seconds"] is None
    assert set(measured["epoch_seconds"]) >= {"fixed", "tokens_2"}  # and what has the same lengths
    assert "Measured on 8 x cpu" in (tmp_path / "o.md").read_text()
