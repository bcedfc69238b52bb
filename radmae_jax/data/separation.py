"""Words how far it is known that no patient is in two splits: unknown where images have no patient number."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radmae_jax.data.identity import NO_NUMBER
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.splits import Split


@dataclass(frozen=True)
class PatientNumbers:
    """How many images have no patient number: a study or a file stands for their patient."""

    images: int
    without: int
    test_images: int = 0
    test_without: int = 0

    @property
    def none(self) -> bool:
        """Whether no image has a number: nothing is known of patients."""
        return 0 < self.images == self.without

    @property
    def partial(self) -> bool:
        """Whether some images have a number and others have none."""
        return 0 < self.without < self.images


def patient_numbers(manifest: Manifest, split: Split | None = None) -> PatientNumbers:
    """Counts a manifest, and the test images of its split."""
    sources = manifest.patient_sources
    test = split.records("test").tolist() if split is not None else []
    return PatientNumbers(
        len(sources), sum(s in NO_NUMBER for s in sources), len(test), sum(sources[r] in NO_NUMBER for r in test)
    )


def unknown_of(numbers: PatientNumbers) -> str:
    """What is unknown of the separation of patients; empty where every image has a patient number."""
    if numbers.none:
        return "it is unknown whether a patient is in two splits, as no image has a patient number"
    if numbers.partial:
        test = f" ({numbers.test_without:,} of {numbers.test_images:,} test images)" if numbers.test_images else ""
        return (
            f"for {numbers.without:,} of {numbers.images:,} images{test} it is unknown whether their patient is in two "
            "splits, as they have no patient number"
        )
    return ""


def separation(numbers: PatientNumbers, pixels_known: bool) -> str:
    """Whether any patient or any image is in two splits, in words.

    Args:
      numbers: of the manifest whose split has been checked: reading one refuses keys and pixels in two splits.
      pixels_known: whether the pixels of every image were hashed.
    """
    if numbers.none:
        known = "no image, by its pixels, is in two splits" if pixels_known else "of images nobody knows either"
        return f"{unknown_of(numbers)}; {known}"
    images = (
        "no patient and no image is in two splits"
        if pixels_known
        else ("no patient is in two splits (of images nobody knows: some were indexed without pixels)")
    )
    return f"{images}, by patient numbers; {unknown_of(numbers)}" if numbers.partial else images


def stand_ins(sources: Sequence[str | None]) -> str:
    """What stands for the patients of images without a number, in words: "the study of 3, the file of 2"."""
    counts = Counter(source for source in sources if source in NO_NUMBER)
    return ", ".join(f"the {name} of {counts[name]:,}" for name in NO_NUMBER if counts[name])
