"""Plans of studies: what they are made of, which rate is chosen, and what makes no sense."""

from dataclasses import replace

import pytest

from radmae_jax.cli import main
from radmae_jax.config import Config, Task
from radmae_jax.study.execute import Result, choose
from radmae_jax.study.plan import Arm, Given, Run, Study, read_study


@pytest.fixture
def study() -> Study:
    """Two arms that nothing is trained of."""
    base = Config(task=Task("classify", ("texture",)))
    arms = (Arm("random", "random", "", base, True, "fresh"), Arm("mae", "mae", "runs/mae", base, True, "pre-trained"))
    return Study("small", (("tex", "texture"),), arms, (12,), 2, (1e-3, 1e-2))


def test_the_rate_is_chosen_by_balanced_accuracy_then_by_loss(study):
    runs = [Run(study.arms[0], "tex", "texture", 12, 0, rate) for rate in (1e-4, 1e-3, 1e-2)]
    results = [Result(0.5, 0.9, 3, 3, 1.0), Result(0.5, 0.7, 3, 3, 1.0), Result(0.4, 0.1, 3, 3, 1.0)]
    assert choose(runs, results).learning_rate == 1e-3
    results[1] = Result(None, None, None, None, 0.0, "it diverged")
    assert choose(runs, results).learning_rate == 1e-4


@pytest.mark.parametrize(
    "change, message",
    [
        ({"arms": ()}, "arms is empty"),
        ({"budgets": (200, 50)}, "must be positive and ascending"),
        ({"tasks": (("a", "x"), ("a", "y"))}, "task names .* are not distinct"),
        ({"seeds": 0}, "seeds is 0"),
    ],
)
def test_plans_that_make_no_sense_are_named(study, change, message):
    with pytest.raises(ValueError, match=message):
        replace(study, **change)


def test_runs_of_a_study_do_not_share_a_place_for_checkpoints(study):
    arm = study.arms[0]
    shared = replace(arm, base=replace(arm.base, train=replace(arm.base.train, checkpoints="gs://bucket/runs")))
    with pytest.raises(ValueError, match=r"arm random has config\.train\.checkpoints 'gs://bucket/runs'"):
        replace(study, arms=(shared,))


def test_arms_begin_with_what_their_kind_says(study):
    with pytest.raises(ValueError, match="arm x of kind 'random' has start 'weights'"):
        replace(study, arms=(replace(study.arms[0], name="x", start="weights"),))
    with pytest.raises(ValueError, match="arm x of kind 'imagenet' has start ''"):
        replace(study, arms=(replace(study.arms[0], name="x", kind="imagenet"),))


def test_the_packaged_study_has_no_imagenet_arm_without_a_file():
    found = read_study("phantom_study", Given("m.parquet", mae="run"))
    assert [arm.name for arm in found.arms] == ["random", "mae"] and found.budgets == (50, 200)
    assert [a.name for a in read_study("phantom_study", Given("m", "run", "vit.npz")).arms][-1] == "imagenet"
    tiny = read_study("phantom_study:tiny", Given("m.parquet", mae="run"))
    assert {arm.base.model.variant for arm in tiny.arms} == {"Ti"} and found.arms[0].base.model.width == 96
    with pytest.raises(ValueError, match="phantom_study has '' and 'tiny'"):
        read_study("phantom_study:large", Given("m.parquet"))
    with pytest.raises(ValueError, match="variant 'tiny'; poster_study has none"):
        read_study("poster_study:tiny", Given("m.parquet"))
    with pytest.raises(ValueError, match="is no study"):
        read_study("demo", Given("m"))


def test_what_is_not_of_the_study_is_named(capsys, tmp_path):
    arguments = ["study", "phantom_study", "--manifest", "m", "--workdir", str(tmp_path)]
    assert main([*arguments, "--tasks", "lungs"]) == 2
    assert "--tasks lungs: the study has arc, fmd, frac" in capsys.readouterr().err
    assert main([*arguments, "--tasks", "frac", "--curve"]) == 2
    assert "the curve over pre-training has no task among those chosen" in capsys.readouterr().err
