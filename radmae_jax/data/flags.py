"""Names what is odd about a file that is read all the same: short words for the manifest's column `flags`."""

# Each with how the file was read. The index counts them.
FLAGS: dict[str, str] = {
    "deep_codestream": "the codestream holds values that BitsStored does not; the codestream is trusted",
    "overshoot": "lossy coding went past the range of BitsStored by less than a sixteenth; clipped",
    "unused_bits": "bits outside BitsStored were set that belong to no overlay; cleared",
    "extra_pixel_data": "more bytes of pixel data than one image; those behind it were ignored",
    "element": "an element that the image does not need could not be read; left out",
    "empty_lut": "a LUT sequence has no table in it; read as if it were absent",
    "lut_entries": "a LUT has fewer or more entries than its descriptor says; the smaller number is used",
    "lut_bits": "a VOI LUT is declared too deep, or not deep enough, for its entries; scaled by the bits they need",
    "lut_first": "a LUT's first mapped value has the wrong sign; moved by 65,536 to where the pixels are",
    "voi_lut": "a VOI LUT cannot be read; left out",
    "shutter": "a shutter shape cannot be read; left out",
    "non_square": "the file's pixels are not square; resampled to square ones",
}


def joined(flags: set[str]) -> str:
    """Flags as the manifest has them: sorted, joined by commas, "" for none.

    Raises:
      ValueError for a word that is not in FLAGS.
    """
    unknown = flags - FLAGS.keys()
    if unknown:
        raise ValueError(f"flags {sorted(unknown)} are not among {', '.join(FLAGS)}")
    return ",".join(sorted(flags))
