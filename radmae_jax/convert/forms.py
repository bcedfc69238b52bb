"""Tensors of one naming to another by a rule table, strictly: nothing is left over, nothing is guessed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radmae_jax.config import Model
from radmae_jax.convert.names import Rule, rules_for
from radmae_jax.convert.weights import ConvertError, Tensors, Weights, shapes_of
from radmae_jax.model.size import encoder_size


@dataclass(frozen=True)
class Layout:
    """What a form needs to know beyond the tensor itself."""

    patch: int
    channels: int
    heads: int
    layers: dict[str, int]  # of "encoder" and, in an MAE, "decoder"


@dataclass(frozen=True)
class Form:
    """How a tensor of ours is laid out in another format, and back."""

    to_theirs: Callable[[np.ndarray, Layout], np.ndarray]
    to_ours: Callable[[np.ndarray, Layout], np.ndarray]
    rank: int  # of theirs; 0: any


FORMS = {
    "same": Form(lambda x, at: x, lambda x, at: x, 0),
    "linear": Form(lambda x, at: x.T, lambda x, at: x.T, 2),
    "batched": Form(lambda x, at: x[None], lambda x, at: x[0], 3),
    # A patch as (y, x, channel) in one axis, [P*P*C, D], to PyTorch's [D, C, P, P] and the original ViT's [P, P, C, D].
    "convolution": Form(
        lambda x, at: x.reshape(at.patch, at.patch, at.channels, -1).transpose(3, 2, 0, 1),
        lambda x, at: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
        4,
    ),
    "image": Form(
        lambda x, at: x.reshape(at.patch, at.patch, at.channels, -1), lambda x, at: x.reshape(-1, x.shape[-1]), 4
    ),
    # Projections with the heads as an axis of their own.
    "heads_out": Form(
        lambda x, at: x.reshape(x.shape[0], at.heads, -1), lambda x, at: x.reshape(x.shape[0], -1), 3
    ),
    "heads": Form(lambda x, at: x.reshape(at.heads, -1), lambda x, at: x.reshape(-1), 2),
    "heads_in": Form(lambda x, at: x.reshape(at.heads, -1, x.shape[-1]), lambda x, at: x.reshape(-1, x.shape[-1]), 3),
}  # fmt: skip


def expand(rules: list[Rule], layers: dict[str, int]) -> list[Rule]:
    """The rules with `{n}` written out for every layer of the stack that a rule is about."""
    written = []
    for rule in rules:
        if "{n}" not in rule.theirs:
            written.append(rule)
            continue
        for n in range(layers[rule.ours[0].partition("/")[0]]):
            ours = tuple(name.format(n=n) for name in rule.ours)
            written.append(Rule(ours, rule.theirs.format(n=n), rule.form))
    return written


def to_theirs(tensors: Tensors, rules: list[Rule], layout: Layout) -> Tensors:
    """Our tensors under their names and in their forms, contiguous; every tensor is used once."""
    theirs: Tensors = {}
    used: set[str] = set()
    for rule in expand(rules, layout.layers):
        for name in rule.ours:
            if name not in tensors:
                raise ConvertError(f"tensor {name} is missing")
            if name in used:
                raise ConvertError(f"tensor {name} is used twice")
            used.add(name)
        if rule.theirs in theirs:
            raise ConvertError(f"tensor {rule.theirs} is made twice")
        joined = np.concatenate([tensors[name] for name in rule.ours], axis=-1)
        theirs[rule.theirs] = np.ascontiguousarray(FORMS[rule.form].to_theirs(joined, layout))
    for name in sorted(tensors.keys() - used):
        raise ConvertError(f"tensor {name} has no place in this format")
    return theirs


def to_ours(theirs: Tensors, rules: list[Rule], layout: Layout, shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """Their tensors under our names and in our forms.

    Args:
      shapes: every tensor of ours with its shape (`weights.shapes_of`).

    Raises ConvertError, by their name, for a tensor that is missing, unknown, given twice or of another shape.
    """
    ours: Tensors = {}
    read: set[str] = set()
    for rule in expand(rules, layout.layers):
        if rule.theirs not in theirs:
            raise ConvertError(f"tensor {rule.theirs} is missing")
        if rule.theirs in read:
            raise ConvertError(f"tensor {rule.theirs} is used twice")
        read.add(rule.theirs)
        tensor, form = theirs[rule.theirs], FORMS[rule.form]
        wanted = [shapes[name] for name in rule.ours]
        if form.rank and tensor.ndim != form.rank:
            raise ConvertError(f"tensor {rule.theirs} is {list(tensor.shape)}; it must have {form.rank} axes")
        joined = form.to_ours(tensor, layout)
        size = (*wanted[0][:-1], sum(shape[-1] for shape in wanted))
        # Its own form of the size we want: that is what the file should have held.
        should = form.to_theirs(np.empty(size, np.bool_), layout).shape
        if joined.shape != size or tensor.shape != should:
            raise ConvertError(f"tensor {rule.theirs} is {list(tensor.shape)}; this model has {list(should)}")
        for name, part in zip(rule.ours, np.split(joined, len(rule.ours), axis=-1), strict=True):
            if name in ours:
                raise ConvertError(f"tensor {name} is given twice, the second time by {rule.theirs}")
            if not np.isfinite(part).all():
                raise ConvertError(
                    f"tensor {rule.theirs} holds {np.count_nonzero(~np.isfinite(tensor))} values not finite"
                )
            ours[name] = np.ascontiguousarray(part, np.float32)
    for name in sorted(theirs.keys() - read):
        raise ConvertError(f"tensor {name} is unknown: nothing in this model corresponds to it")
    for name in sorted(shapes.keys() - ours.keys()):
        raise ConvertError(f"tensor {name} of ours is not filled by this format")
    return ours


def theirs_of(weights: Weights, form: str) -> Tensors:
    """A model's tensors under a format's names."""
    model, kind = weights.model, weights.kind
    return to_theirs(weights.tensors, rules_for(form, kind, model.pool), _layout(model, kind))


def ours_of(theirs: Tensors, form: str, kind: str, model: Model, classes: tuple[str, ...]) -> Weights:
    """A format's tensors as the weights of a model; ConvertError by name where they are not exactly its."""
    rules = rules_for(form, kind, model.pool)
    return Weights(
        kind, model, to_ours(theirs, rules, _layout(model, kind), shapes_of(kind, model, len(classes))), classes
    )


def _layout(model: Model, kind: str) -> Layout:
    size = encoder_size(model)
    layers = {"encoder": size.layers, **({"decoder": model.decoder_layers} if kind == "mae" else {})}
    return Layout(model.patch, model.channels, size.heads, layers)
