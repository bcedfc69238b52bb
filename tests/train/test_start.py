"""Training that begins with given weights: a run's, Hugging Face's, the original ViT's."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from radmae_jax.cli import main
from radmae_jax.config import Loss, Task
from radmae_jax.convert.adapt import adapt, fold_class_position, fold_scaling
from radmae_jax.convert.exported import write_weights
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.forms import theirs_of
from radmae_jax.convert.weights import ConvertError, Weights, from_variables, shapes_of, to_variables
from radmae_jax.train.loop import train_run
from radmae_jax.train.saved import read_run
from radmae_jax.train.start import begin, flat_classes, of_label, read_start, weights_of
from radmae_jax.train.state import State


def _fresh(config) -> State:
    """A state in which every number is 0.25."""
    kind, classes = ("classifier", config.task.classes[0]) if config.task.kind == "classify" else ("mae", ())
    shapes = shapes_of(kind, config.model, len(classes))
    tensors = {name: np.full(shape, 0.25, np.float32) for name, shape in shapes.items()}
    variables = jax.device_put(to_variables(Weights(kind, config.model, tensors, classes)))
    return State(jax.numpy.zeros((), np.int32), variables["params"], variables.get("tables", {}), {}, {})


def _begin(config, weights, tmp_path):
    """The state's tensors by name before and after, and what is said."""
    write_weights(weights, tmp_path / "weights", "radmae")
    state = _fresh(config)
    begun, lines = begin(state, read_start(tmp_path / "weights", config), config)
    before, after = (from_variables(s.params, s.tables) for s in (state, begun))
    return before, after, lines


def test_a_classifier_takes_an_maes_encoder(run_config, make_weights, tmp_path):
    config = replace(run_config, task=Task("classify", ("texture",), (("a", "b"),)))
    weights = make_weights("mae", config.model)
    before, after, lines = _begin(config, weights, tmp_path)
    for name, tensor in after.items():
        expected = before[name] if name.startswith("head/") else weights.tensors[name]
        if name in ("class_token", "positions"):  # the class token's position is folded into it
            expected = fold_class_position(weights).tensors[name]
        np.testing.assert_array_equal(tensor, expected, err_msg=name)
    assert lines[-2:] == (
        "taken from the given weights: encoder, final norm",
        "the head begins fresh: the given weights have none",
    )


@pytest.mark.parametrize(
    "classes, pool, fresh",
    [(("a", "b"), "class", ()), (("b", "a"), "class", ("head",)), (("a", "b"), "mean", ("final norm", "head"))],
)
def test_heads_and_norms_are_taken_where_they_mean_the_same(classes, pool, fresh, run_config, make_weights, tmp_path):
    config = replace(
        run_config, task=Task("classify", ("texture",), (classes,)), model=replace(run_config.model, pool=pool)
    )  # fmt: skip
    weights = make_weights("classifier", run_config.model, ("a", "b"))
    _, after, lines = _begin(config, weights, tmp_path)
    same = {name: np.array_equal(after[name], weights.tensors[name]) for name in after}
    assert same["head/kernel"] == ("head" not in fresh)
    assert same["encoder_norm/scale"] == ("final norm" not in fresh)
    assert sum("begins fresh" in line for line in lines) == len(fresh)
    assert same["encoder/1/fc2/kernel"]


@pytest.mark.parametrize("label, taken", [("", True), ("texture", True), ("fracture", False)])
def test_a_head_of_another_label_is_not_taken_by_its_classes_names(label, taken, run_config, make_weights, tmp_path):
    config = replace(run_config, task=Task("classify", ("texture",), (("0", "1"),)))
    weights = make_weights("classifier", config.model, ("0", "1"))
    _, after, lines = _begin(config, replace(weights, recipe={"label": label} if label else {}), tmp_path)
    assert np.array_equal(after["head/kernel"], weights.tensors["head/kernel"]) == taken
    assert any("weights' is of fracture, not texture" in line for line in lines) != taken


def test_an_imagenet_arm_begins_with_no_run_of_ours(run_config, make_weights, tmp_path):
    config = replace(
        run_config, task=Task("classify", ("texture",), (("0", "1"),)), train=replace(run_config.train, arm="imagenet")
    )  # fmt: skip
    weights = make_weights("encoder", config.model)
    write_weights(weights, tmp_path / "theirs", "radmae")
    assert read_start(tmp_path / "theirs", config).kind == "encoder"
    ours = replace(weights, recipe={"trained by": "radmae_jax, masked reconstruction"})
    write_weights(ours, tmp_path / "ours", "radmae")
    with pytest.raises(ConvertError, match=r"ours is of a run of radmae_jax; config.train.arm 'imagenet' begins with"):
        read_start(tmp_path / "ours", config)


def test_one_label_of_a_run_of_several(run_config, make_weights):
    task = Task("classify", ("texture", "half"), (("a", "b"), ("0", "1")))
    weights = make_weights("classifier", run_config.model, flat_classes(task))
    part = of_label(weights, task, "half")
    np.testing.assert_array_equal(part.tensors["head/kernel"], weights.tensors["head/kernel"][:, 2:])
    assert part.classes == ("0", "1") and part.recipe["trained together with"] == "texture"
    alone = Task("classify", ("texture",), (("a", "b"),))
    weights = make_weights("classifier", run_config.model, ("a", "b"))
    assert "trained together with" not in of_label(weights, alone, "texture").recipe
    with pytest.raises(ValueError, match="--label texture: the run's labels are none: it was trained to reconstruct"):
        of_label(weights, Task(), "texture")


@pytest.mark.parametrize(
    "change, loss, fresh",
    [({}, Loss(), False), ({"decoder_layers": 2}, Loss(), True), ({}, Loss(norm_pix=True), True)],
)
def test_an_mae_takes_a_decoder_of_its_own_size_and_target(change, loss, fresh, run_config, make_weights, tmp_path):
    config = replace(run_config, loss=loss, model=replace(run_config.model, **change))
    weights = make_weights("mae", run_config.model)
    before, after, lines = _begin(config, weights, tmp_path)
    assert np.array_equal(after["positions"][1:], weights.tensors["positions"][1:])  # frozen, but not sine-cosine
    for name in ("decoder_positions", "mask_token", "decoder/0/query/kernel"):
        np.testing.assert_array_equal(after[name], before[name] if fresh else weights.tensors[name])
    assert ("the decoder begins fresh" in lines[-1]) == fresh


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 64}, r"encoder of Size\(width=32, layers=2, heads=4\), config.model of Size\(width=64"),
        ({"gelu": "tanh"}, "has gelu 'exact', config.model.gelu is 'tanh': .* --config.model.gelu=exact"),
        ({"norm_eps": 1e-12}, "has norm_eps 1e-06, config.model.norm_eps is 1e-12"),
    ],
)
def test_another_function_is_refused_by_the_settings_name(change, message, run_config, make_weights, tmp_path):
    write_weights(make_weights("mae", run_config.model), tmp_path / "weights", "radmae")
    with pytest.raises(ConvertError, match=message):
        read_start(tmp_path / "weights", replace(run_config, model=replace(run_config.model, **change)))


def test_a_classifier_is_fine_tuned_from_the_original_vits_file(run_config, labelled, make_weights, tmp_path, capfd):
    """3 channels, patch 16, a table of 14 x 14, tanh GELU: taken at 1 channel, patch 8, 6 x 6; all of it said."""
    model = replace(run_config.model, channels=3, patch=16, table_side=14, gelu="tanh")
    original = make_weights("encoder", model)
    np.savez(tmp_path / "vit.npz", **theirs_of(original, "big_vision"))
    sizes = {"width": 32, "layers": 2, "heads": 4, "patch": 8, "table_side": 6, "pool": "class"}
    arguments = [
        "finetune", "--config=demo", f"--config.data.manifest={labelled}", "--config.task.kind=classify",
        "--config.task.labels=texture", *(f"--config.model.{name}={value}" for name, value in sizes.items()),
        "--config.bins.shapes=2", "--config.train.rows=8", "--config.train.max_steps=1",
        "--config.train.evaluate_every=0", "--init", str(tmp_path / "vit.npz"), "--workdir", str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(arguments) == 2
    assert "--config.model.gelu=tanh takes the weights as they are" in capfd.readouterr().err
    arguments.append("--config.model.gelu=tanh")
    assert main(arguments) == 0
    said = capfd.readouterr().err
    for line in (
        "mean 0.5, deviation 0.5",
        "3 channels to 1",
        "patch 16 to 8",
        "14 x 14 to 6 x 6",
        "head begins fresh",
    ):
        assert line in said
    saved = weights_of(read_run(tmp_path / "run"))  # the rate of a warm-up's first step is 0
    scaled = fold_scaling(original, (0.5,) * 3, (0.5,) * 3)
    expected = fold_class_position(adapt(scaled, patch=8, channels=1, table_side=6, positions="bilinear"))
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(saved.tensors[name], tensor, err_msg=name)
    (tmp_path / "vit.npz").unlink()
    assert any("3 channels to 1" in line for line in read_run(tmp_path / "run").start)
    assert "3 channels to 1, summed over grey" in saved.recipe["began with given weights"]
    # Goes on, with nothing to do; the file is not read again, and another is not either.
    assert main(arguments) == 0
    assert main([*arguments, "--init", "other.npz"]) == 0
    assert "it began with" in capfd.readouterr().err
    assert json.loads((tmp_path / "run/config.json").read_text())["train"]["start"].endswith("vit.npz")


def test_a_run_is_converted_verified_and_loaded_on_the_command_line(run_config, tmp_path, capsys):
    """Pre-training to a Hugging Face directory, its encoder to timm, and back to ours with another patch."""
    import radmae_jax

    train_run(replace(run_config, train=replace(run_config.train, max_steps=2)), tmp_path / "run", quiet=True)
    out, report = tmp_path / "hf", tmp_path / "report.json"
    assert main(["convert", str(tmp_path / "run"), str(out), "--to", "huggingface", "--json", str(report)]) == 0
    assert json.loads(report.read_text()).keys() == {
        "source", "directory", "format", "kind", "tensors", "parameters", "model", "notes",
    }  # fmt: skip
    card = (out / "README.md").read_text()
    assert "optimizer steps: 2" in card and "VOI LUT" in card and "steps an epoch: " in card
    assert str(tmp_path) not in (out / "radmae.json").read_text() + card
    assert main(["verify", str(out), "--json", str(report)]) == 0
    verdict = json.loads(report.read_text())
    assert verdict["passed"] and verdict["not_run"] == {} and set(verdict["differences"]) == {"jax", "transformers"}
    exported, trained = read_weights(out), weights_of(read_run(tmp_path / "run"))
    for name, tensor in trained.tensors.items():
        np.testing.assert_array_equal(exported.tensors[name], tensor, err_msg=name)

    steps = tmp_path / "run/checkpoints"
    assert main(["convert", str(steps / "2"), str(tmp_path / "enc"), "--to", "timm", "--part", "encoder"]) == 0
    assert "decoder is left out" in capsys.readouterr().out
    assert main(["convert", str(out), str(tmp_path / "own"), "--from", "huggingface", "--patch", "16"]) == 0
    resized = read_weights(tmp_path / "own")
    assert resized.model == replace(trained.model, patch=16, variant="custom")
    assert main(["convert", str(steps), str(tmp_path / "x")]) == 2
    assert main(["convert", str(steps), str(out), "--to", "timm"]) == 2
    error = capsys.readouterr().err
    assert "--to is needed" in error and "hf exists and is not an empty directory" in error

    loaded = radmae_jax.load(out)
    assert (loaded.step, loaded.config.data.intensity) == (2, "voi")
    for mine, theirs in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(read_run(steps).params), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="is exported, of one step"):
        radmae_jax.load(out, "best")
