from pathlib import Path

import pytest

from radmae_jax.config import Config, Task
from radmae_jax.config_checks import read_json
from radmae_jax.config_file import find_config, from_arguments, load_file
from radmae_jax.data.binning import make_table, token_grids
from radmae_jax.data.optimum import optimal_lengths
from radmae_jax.data.sizes import poster_sizes
from radmae_jax.plain import differences, from_dict, to_dict


def test_overrides_have_the_types_of_the_schema():
    config = from_arguments(
        [
            "--config",
            "demo",
            "--config.train.epochs=3",
            "--config.optim.learning_rate=1",
            "--config.bins.lengths=(10, 400)",
        ]
    )
    assert (config.train.epochs, config.optim.learning_rate, config.bins.lengths) == (3, 1.0, (10, 400))
    assert differences(load_file("demo"), config) == [
        "bins.lengths: () -> (10, 400)",
        "optim.learning_rate: 0.0015 -> 1.0",
        "train.epochs: 14 -> 3",
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config=demo", "--config.train.epoch=3"], "epoch"),
        (["--config=demo", "--config.train.epochs=many"], "many"),
        (["--config=demo", "--config.data.intensity=bright"], "intensity is 'bright'; it must be one of voi"),
        (["--config=demo", "--config.model.patch=7"], "model.patch is 7; it must be from 8 to 48"),
        (["--config=demo", "--config.bins.lengths=(20, 10)"], "ascending"),
        (["--config=demo:large"], "variant 'large'"),
        (
            ["--config=demo", "--config.task.kind=classify"],
            r"config.task.labels is \(\); with config.task.kind 'classify'",
        ),
        (
            ["--config=demo", "--config.task.classes=((0, 1),)"],
            r"task.classes is \(0, 1\); it must be a tuple of texts",
        ),
        (
            [
                "--config=demo",
                "--config.task.kind=classify",
                "--config.task.labels=x",
                "--config.task.classes=(('a',),)",
            ],
            r"task.classes of 'x' is \('a',\); there must be at least 2",
        ),
        (["--config=demo", "--config.task.budget_seed=1"], "budget_seed is 1; it is for config.task.kind 'classify'"),
        (
            ["--config=demo:finetune", "--config.task.budget_seed=1"],
            "config.task.budget_seed is 1 without config.task.budget",
        ),
        (["--config=demo:finetune", "--config.loss.norm_pix=True"], "classifiers are trained by cross-entropy"),
        (["--config=demo", "--config.bins.lengths=('a', 'b')"], "it must be a tuple of whole numbers"),
        (["--config=poster_finetune"], r"variant '': '' is not known; poster_finetune has task=arc\|fmd\|frac\|all"),
        (["--config=demo", "stray"], "not understood: stray"),
        (["--config.train.epochs=3"], "--config"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arguments(arguments)


def test_a_missing_config_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        from_arguments(["--config=nowhere"])


def test_json_round_trip(tmp_path: Path):
    import json

    config = load_file("poster_pretrain", "replica")
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    assert read_json(tmp_path / "config.json") == config
    with pytest.raises(ValueError, match=r"config\.train\.speed is not a setting"):
        from_dict(Config, {"train": {"speed": 9}})


@pytest.mark.parametrize("variant, label", [("arc", "region"), ("fmd", "foreign_material"), ("frac", "fracture")])
def test_the_posters_finetuning(variant, label):
    config = from_arguments([f"--config=poster_finetune:task={variant}", "--config.task.classes=(('no', 'yes'),)"])
    assert config.task == Task("classify", (label,), (("no", "yes"),))
    assert (config.train.images_per_step, config.train.epochs, config.optim.learning_rate) == (64, 100, 3e-5)
    assert (config.model.variant, config.model.patch, config.model.table_side) == ("B", 48, 64)
    assert (config.optim.weight_decay, config.bins.lengths, config.bins.beyond) == (0.0, (), "refuse")
    assert from_dict(Config, to_dict(config)) == config


def test_a_config_is_found_by_path_or_name_but_no_other_in_place_of_a_mistyped_path():
    assert find_config("configs/demo.py").samefile(find_config("demo"))
    with pytest.raises(FileNotFoundError, match=r"my/experiments/demo\.py"):
        find_config("my/experiments/demo.py")


def test_the_posters_config():
    plain, replica = load_file("poster_pretrain"), load_file("poster_pretrain", "replica")
    for config in (plain, replica):
        assert (config.train.images_per_step, config.train.epochs, config.optim.learning_rate) == (1024, 10, 1e-4)
        assert (config.model.variant, config.model.patch, config.model.table_side) == ("B", 48, 64)
    assert (replica.loss.kind, replica.data.intensity, replica.bins.pad_tokens) == ("poster", "poster", "poster")
    assert (replica.model.resample, replica.model.decoder_positions) == ("bicubic", "hf_flat")
    # The table it carries is the optimum of the shipped sizes.
    heights, widths, counts = poster_sizes()
    tokens = token_grids(heights, widths, 48).prod(axis=1)
    distinct = sorted(set(tokens.tolist()))
    total = [int(counts[tokens == n].sum()) for n in distinct]
    import numpy as np

    assert plain.bins.lengths == optimal_lengths(np.array(distinct), np.array(total), 16)
    assert len(make_table(replica.bins, 48, heights, widths).lengths) == 20
