"""Archives of one report that contain, overlap or repeat others: every image is counted once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from radmae_jax.data.manifest import Manifest
from radmae_jax.evaluate.report.growth import grown_from, outer_of, outermost, totals


def _facts(images: str, hashed: bool = True) -> Any:
    """An archive of images by letter, each of the patient of its lower-case letter."""
    rows = [
        {
            "path": f"{letter}.png", "height": 8, "width": 8, "patient": letter.lower(), "study": letter,
            "pixel_hash": f"hash {letter}" if hashed else None,
        }
        for letter in images
    ]  # fmt: skip
    return SimpleNamespace(manifest=Manifest(pa.Table.from_pylist(rows), Path("m"), Path(), images))


def test_images_and_patients_of_contained_archives_are_counted_once():
    """Upper and lower letters: two images of a patient; a letter twice: an image with the pixels of another."""
    small, middle, large, other = _facts("AB"), _facts("AaB"), _facts("AaBbCC"), _facts("CDE")
    archives = [small, other, middle, large]
    assert totals(archives) == (8, 5)  # A a B b C C D E
    assert outermost(archives) == [(other, []), (large, [middle, small])]
    assert [outer_of(facts, archives) for facts in archives] == [large, None, large, None]
    assert totals([large]) == (6, 3) and totals([other]) == (3, 3)
    # One archive with two splits is one; three images with the same pixels are more than two.
    again = _facts("AaBbCC")
    assert totals([large, again]) == (6, 3) and outermost([large, again]) == [(large, [])]
    assert outer_of(again, [large, again]) is None
    assert totals([large, _facts("CCC")]) == (7, 3)


def test_without_pixel_hashes_images_are_known_by_their_rows():
    small, large = _facts("AB", hashed=False), _facts("ABC", hashed=False)
    assert totals([small, large]) == (3, 3) and outer_of(small, [small, large]) is large
    assert totals([small, _facts("ABC")]) == (3, 3)
    assert totals([small, _facts("BC")]) == (4, 3)  # whether B is the same image is not known


def test_an_archive_grew_where_a_run_went_on_with_another():
    earlier = {"changes": [{"field": "manifest", "before": "a", "after": "b"}]}
    later = {"changes": [{"field": "split", "before": "s"}, {"field": "manifest", "before": "b"}], "earlier": earlier}
    runs: list[Any] = [SimpleNamespace(continued=record) for record in ({}, later)]
    assert grown_from(runs) == {"a", "b"} and grown_from(runs[:1]) == set()
