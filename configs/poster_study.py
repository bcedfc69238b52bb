"""The poster's comparison with the statistics it lacked: three tasks, matched arms and the poster's own.

    radmae study configs/poster_study.py --manifest labelled.parquet --mae runs/first --imagenet ViT-B_16.npz \\
      --workdir runs/poster_study --side test
    radmae report runs/poster_study

The manifest is one archive with labels for some of its images, and runs/first was pre-trained on its split. Matched
arms are all ViT-B, patch 48, one channel, the same pixels, augmentation, epochs and search: they differ in what they
begin with. The poster's own arms are as its code had them: the baselines with patch 16, three channels and the poster's
grey values. They differ from the MAE in several things at once, so that a difference is not of one of them. Without
--imagenet there is no ImageNet arm; its GELU is the original's.

Budgets up to the poster's labels: 1,000 for ARC, 652 for FMD and FRAC; ask for others with --budgets.

Cost: 3 tasks x 3 or 6 arms x 3 budgets x (4 rates + 2 more seeds); ViT-B on an accelerator. Last result: not run here.
"""

from dataclasses import replace

from radmae_jax.config import Config
from radmae_jax.config_file import load_file
from radmae_jax.study.plan import Arm, Given, Study

_TASKS = (("arc", "region"), ("fmd", "foreign_material"), ("frac", "fracture"))
_MATCHED = "ViT-B, patch 48, 1 channel"
_POSTER = "as in the poster's code: ViT-B, patch 16, 3 channels, the poster's grey values"


def get_study(given: Given) -> Study:
    """Matched arms, then the poster's own; there are no variants."""
    if given.variant:
        raise ValueError(f"variant {given.variant!r}; poster_study has none")
    begins = {"random": ("", "random weights"), "mae": (given.mae, "masked pre-training on this archive"),
              "imagenet": (given.imagenet, "a file of ImageNet weights")}  # fmt: skip
    arms = []
    for name, (start, said) in begins.items():
        if start or name == "random":
            base = _base(given, f"task=arc,init={name}", name == "imagenet")
            arms.append(Arm(name, name, start, base, True, f"{_MATCHED}; begins with {said}"))
    for name, (start, said) in begins.items():
        if (start and name == "imagenet") or name == "random":
            base = _base(given, f"task=arc,init={name},arms=poster", name == "imagenet")
            arms.append(Arm(f"poster_{name}", name, start, base, False, f"{_POSTER}; begins with {said}"))
    return Study(
        "poster",
        _TASKS,
        tuple(arms),
        budgets=(50, 200, 652),
        seeds=3,
        learning_rates=(1e-5, 3e-5, 1e-4, 3e-4),
        curve_tasks=("arc", "fmd"),
        fewer=given.fewer,
    )


def _base(given: Given, variant: str, tanh: bool) -> Config:
    config = load_file("poster_finetune", variant)
    model = replace(config.model, gelu="tanh" if tanh else config.model.gelu)
    return replace(config, data=replace(config.data, manifest=given.manifest), model=model)
