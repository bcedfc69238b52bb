"""Words how far it is known that no patient is in two splits: unknown where images have no patient number, or one
that cannot be compared with the others'."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radmae_jax.data.identity import NO_NUMBER
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.splits import SIDES, Split

_HEADER = ("issuer", "id")  # numbers of DICOM; those of a labels file are other texts, so one person has two keys
_FROM = {"labels": "the labels file", "header": "DICOM"}


@dataclass(frozen=True)
class PatientNumbers:
    """For how many images nothing is known of their patient's other images."""

    images: int
    without: int  # have no patient number: a study or a file stands for their patient
    test_images: int = 0
    test_without: int = 0
    mixed: int = 0  # have a number of the rarer origin, a labels file or DICOM, where there are both
    test_mixed: int = 0
    rarer: str = ""  # that origin, labels or header; empty where there is one only

    @property
    def none(self) -> bool:
        """Whether no image has a number: nothing is known of patients."""
        return 0 < self.images == self.without

    @property
    def unknown(self) -> int:
        """Images whose patient may have another key elsewhere."""
        return self.without + self.mixed

    @property
    def test_unknown(self) -> int:
        """Of them, test images."""
        return self.test_without + self.test_mixed

    @property
    def partial(self) -> bool:
        """Whether patients are known for some images and unknown for others."""
        return 0 < self.unknown < self.images


def numbers_of(sources: Sequence[str | None], test: Sequence[str | None] = ()) -> PatientNumbers:
    """Counts what stands for the patients of images, of identity.PATIENT_SOURCES.

    Args:
      sources: of all images.
      test: of the test images.
    """
    kinds, of_test = (Counter(map(_origin, some)) for some in (sources, test))
    both = bool(kinds["labels"] and kinds["header"])
    rarer = min(("header", "labels"), key=lambda kind: kinds[kind]) if both else ""
    return PatientNumbers(
        len(sources), kinds["none"], len(test), of_test["none"],
        kinds[rarer] if rarer else 0, of_test[rarer] if rarer else 0, rarer,
    )  # fmt: skip


def patient_numbers(manifest: Manifest, split: Split | None = None) -> PatientNumbers:
    """Counts a manifest, and the test images of its split."""
    sources = manifest.patient_sources
    test = split.records("test").tolist() if split is not None else []
    return numbers_of(sources, [sources[record] for record in test])


def unknown_of(numbers: PatientNumbers) -> str:
    """What is unknown of the separation of patients; empty where all patients can be compared."""
    if numbers.none:
        return "it is unknown whether a patient is in two splits, as no image has a patient number"
    if not numbers.partial:
        return ""
    test = f" ({numbers.test_unknown:,} of {numbers.test_images:,} test images)" if numbers.test_images else ""
    why = []
    if numbers.without:
        why.append(f"{f'{numbers.without:,}' if numbers.mixed else 'they'} have no patient number")
    if numbers.mixed:
        other = _FROM["labels" if numbers.rarer == "header" else "header"]
        why.append(
            f"{f'{numbers.mixed:,}' if numbers.without else 'they'} have their patient number from "
            f"{_FROM[numbers.rarer]} and others from {other}, which cannot be compared"
        )
    return (
        f"for {numbers.unknown:,} of {numbers.images:,} images{test} it is unknown whether their patient is in two "
        f"splits, as {' and '.join(why)}"
    )


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
    return f"{unknown_of(numbers)}; among all others {images}, by patient numbers" if numbers.partial else images


def empty_splits(split: Split) -> list[str]:
    """The splits without an image."""
    return [side for side in SIDES if not len(split.records(side))]


def claim(manifest: Manifest, split: Split) -> str:
    """What `radmae split` says of a split that has been checked: unknown, proven, or nothing to separate."""
    numbers, hashed = patient_numbers(manifest, split), None not in manifest.pixel_hashes
    if len(empty_splits(split)) == len(SIDES) - 1:
        return "nothing to separate, as all images are in one split"
    known = separation(numbers, hashed)
    if numbers.none:
        return f"unknown: {known}"
    return known if numbers.partial else f"proven by patient keys{' and pixels' if hashed else ''}: {known}"


def stand_ins(sources: Sequence[str | None]) -> str:
    """What stands for the patients of images without a number, in words: "the study of 3, the file of 2"."""
    counts = Counter(source for source in sources if source in NO_NUMBER)
    return ", ".join(f"the {name} of {counts[name]:,}" for name in NO_NUMBER if counts[name])


def _origin(source: str | None) -> str:
    return "none" if source in NO_NUMBER else "header" if source in _HEADER else "labels"
