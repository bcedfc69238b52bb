"""Defines why a file cannot become an image: one error with one of a fixed list of reasons."""

REASONS = (
    "not_dicom",  # neither DICOM nor PNG nor JPEG
    "archive",  # a zip, gzip, tar or other archive, which may hold images
    "link",  # a link to a folder, which is not followed
    "no_pixels",  # a DICOM object without pixel data
    "truncated",  # fewer bytes than the header declares
    "damaged",  # compressed data that cannot be what was compressed: a decoder would fill the gaps
    "too_large",
    "too_small",
    "multi_frame",
    "colour",
    "unsupported_syntax",
    "unsupported_pixels",  # 1, 32 or 64 bits, float, or more pixel data than the header describes
    "decode_failed",
    "constant",  # one value everywhere
    "unreadable",  # the file system or the parser gave up
    "crashed",  # the decoder took its process with it
    "timeout",
)


class ImageError(Exception):
    """One file cannot become an image. `reason` is one of REASONS; `detail` names elements, sizes and syntaxes, never
    text out of a header or a path, so that both may be logged."""

    def __init__(self, reason: str, detail: str):
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not one of {REASONS}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
