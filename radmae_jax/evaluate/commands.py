"""`radmae convert` and `radmae verify`: their arguments, and what is said."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, step_of, write_figures

_DIFFERENT = 5


def add_convert(commands: Any) -> None:
    """Adds the subcommands."""
    convert = add_command(commands, "convert", _convert, "a run to PyTorch's formats, or weights of these to ours")
    convert.add_argument("source", type=Path, help="a run (WORKDIR, its checkpoints/ or one step), or weights")
    convert.add_argument("out", type=Path, help="directory to write; must be new or empty")
    formats = ("huggingface", "timm", "mae_pth", "radmae")
    convert.add_argument("--to", choices=formats, default="", help="format to write (default for weights: radmae)")
    convert.add_argument(
        "--from", dest="form", choices=("huggingface", "timm", "mae_pth", "big_vision"), default="",
        help="format of the weights (default: seen from their names)",
    )  # fmt: skip
    convert.add_argument("--step", default="latest", help="of a run: a saved step, latest or best")
    convert.add_argument("--part", choices=("whole", "encoder"), default="whole", help="encoder: no decoder, no head")
    convert.add_argument("--label", default="", help="of a run of several labels: whose head is written")
    convert.add_argument("--patch", type=int, help="resize the patch embedding (pseudo-inverse, as FlexiViT)")
    convert.add_argument("--channels", type=int, choices=(1, 3), help="1: summed over grey; 3: shared out")
    convert.add_argument("--table-side", type=int, help="resize the position tables to SIDE x SIDE")
    convert.add_argument(
        "--positions", default="", choices=("bilinear", "bicubic", "bicubic_antialias", "zoom"),
        help="convention of that: PyTorch's (default: bilinear), timm's antialiased, big_vision's zoom",
    )  # fmt: skip
    convert.add_argument("--heads", type=int, default=0, help="of an encoder that is no named variant, in a bare file")
    convert.add_argument("--decoder-heads", type=int, default=0, help="of its decoder (default: 16, the MAE's)")
    convert.add_argument(
        "--norm-pix", action=argparse.BooleanOptionalAction, default=None,
        help="of a bare MAE: whether it predicts patches without their mean and contrast",
    )  # fmt: skip
    for name in ("mean", "deviation"):
        convert.add_argument(
            f"--{name}", type=float, nargs="+", default=(),
            help=f"{name} of pixels from 0 to 1 that the weights were trained with (default: the format's)",
        )  # fmt: skip
    verify = add_command(commands, "verify", _verify, "is an exported directory still, and everywhere, the same model?")
    verify.add_argument("directory", type=Path)


def _convert(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.convert.formats import Known
    from radmae_jax.evaluate.export import Shape, convert

    done = convert(
        options.source, options.out, options.to, options.form,
        step=step_of(options.step),
        encoder_only=options.part == "encoder",
        label=options.label,
        shape=Shape(options.patch, options.channels, options.table_side, options.positions),
        known=Known(
            options.heads, options.decoder_heads, tuple(options.mean), tuple(options.deviation), options.norm_pix
        ),
    )  # fmt: skip
    write_figures(options.json, asdict(done))
    for note in done.notes:
        print(f"  {note}")
    print(
        f"{done.kind} of {done.parameters:,} parameters in {done.directory} ({done.format}); `radmae verify` checks it"
    )
    return 0


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.convert.verify import verify

    verdict = verify(options.directory)
    write_figures(options.json, asdict(verdict))
    print(f"{verdict.tensors} tensors match their checksums ({verdict.kind}, {verdict.format})")
    print("largest difference / largest value, by program and image size:")
    for program, by_golden in verdict.differences.items():
        for golden, by_output in by_golden.items():
            parts = (f"{name} {value:.1e} (at most {verdict.limits[name]:.0e})" for name, value in by_output.items())
            print(f"  {program:12s} {golden:8s} {', '.join(parts)}")
    for program, reason in verdict.not_run.items():
        print(f"  {program:12s} not run: {reason}")
    if verdict.passed:
        print("the same model")
        return 0
    print(f"radmae verify: {options.directory} computes something else", file=sys.stderr)
    return _DIFFERENT
