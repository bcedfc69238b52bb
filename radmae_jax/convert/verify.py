"""An exported directory to a verdict: the same bits, and the same outputs from every program at hand."""

from dataclasses import dataclass
from pathlib import Path

from radmae_jax.convert import in_torch
from radmae_jax.convert.exported import CARD, GOLDENS, read_card
from radmae_jax.convert.files import check_sums, read_bytes, read_safetensors
from radmae_jax.convert.formats import read_weights
from radmae_jax.convert.goldens import LIMITS, differences, from_tensors, outputs_of, runner
from radmae_jax.convert.weights import ConvertError, plain_facts


@dataclass(frozen=True)
class Verdict:
    """What `radmae verify` found; the keys of its JSON report."""

    directory: str
    format: str
    kind: str
    tensors: int  # all of whose checksums hold
    differences: dict[str, dict[str, dict[str, float]]]  # program, golden, output: max |d| / max |reference|
    limits: dict[str, float]  # of each output
    not_run: dict[str, str]  # program to why
    passed: bool


def verify(folder: Path) -> Verdict:
    """Checks every checksum, then reruns the goldens in JAX and in the format's own PyTorch programs.

    Raises ConvertError by the tensor's name where a bit has changed.
    """
    folder = Path(folder)
    card = read_card(folder)
    weights = read_weights(folder)
    there = {name: read_bytes(folder / name) for name in card.files_sha256 if (folder / name).is_file()}
    check_sums(there, card.files_sha256, folder.name, "file")
    if card.plain != plain_facts(weights):
        raise ConvertError(f"{folder.name}/{CARD}: plain is not what model says")
    stored = read_safetensors(folder / GOLDENS)
    check_sums(stored, card.goldens_sha256, f"{folder.name}/{GOLDENS}")
    goldens = from_tensors(stored)
    for golden in goldens:
        if golden.outputs.keys() != outputs_of(weights):
            raise ConvertError(f"{folder.name}/{GOLDENS}: {golden.name} has {sorted(golden.outputs)} of outputs")
    run_one = runner(weights)
    found = {"jax": {g.name: differences(run_one(g.pixels, g.noise), g) for g in goldens}}
    not_run = {}
    for program in in_torch.programs_for(card.format):
        if reason := in_torch.missing(program):
            not_run[program] = reason
            continue
        outputs = in_torch.run_all(program, folder, weights, goldens)
        found[program] = {g.name: differences(o, g) for g, o in zip(goldens, outputs, strict=True)}
    limits = {name: LIMITS[name] for name in outputs_of(weights)}
    passed = all(d <= limits[name] for by in found.values() for of in by.values() for name, d in of.items())
    return Verdict(str(folder), card.format, weights.kind, len(weights.tensors), found, limits, not_run, passed)
