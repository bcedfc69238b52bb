"""Says what a file is that is no radiograph, by its kind and its first bytes."""

import stat
from pathlib import Path

from radmae_jax.data.image_error import ImageError

HEAD = 560  # bytes that tell what a file is
MAX_FILE = 1 << 30  # bytes; also of an inflated deflated file

_SPECIAL = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISDIR, "a folder"),
)
_ARCHIVES = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"MSCF\0", "a Windows cabinet"),
    (b"LZIP\x01", "an lzip file"),
    (b"\x1f\x9d", "a compress file (.Z)"),
)
_FOREIGN = (
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a BigTIFF image"),
    (b"MM\0+", "a BigTIFF image"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JP2 image (JPEG 2000)"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 codestream"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"GIF8", "a GIF image"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"ARROW1", "an Arrow file"),
    (b"{\\rtf", "an RTF document"),
    (b"$FL2", "an SPSS file"),
    (b"<stata_dta>", "a Stata file"),
    (b"SIMPLE  =", "a FITS image"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"\x80\x05\x95", "a Python pickle"),
    (b"NRRD", "an NRRD volume"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE document (older Office files)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ\x90\0", "a Windows program"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"8BPS", "a Photoshop image"),
    (b"v/1\x01", "an OpenEXR image"),
)
_POINTER = (b"version https://git-lfs", "a Git LFS pointer; `git lfs pull` fetches what it stands for")
_TEXTS = (
    (b"<!doctype html", "an HTML page, perhaps the error of a download"),
    (b"<html", "an HTML page, perhaps the error of a download"),
    (b"<head", "an HTML page, perhaps the error of a download"),
    (b"<body", "an HTML page, perhaps the error of a download"),
    (b"<!--", "an HTML page or XML document"),
    (b"<?xml", "an XML document"),
    (b"<svg", "an SVG drawing"),
    (b"<error>", "an XML error of a download"),
    (b"{", "JSON text"),
    (b"objecttype", "a MetaImage header"),
    (b"p2", "a PGM image"),
    (b"p5", "a PGM image"),
    (b"p6", "a PPM image"),
)


def regular_size(path: Path) -> int:
    """Bytes of a regular file.

    Raises:
      ImageError: unreadable for anything else, such as a FIFO, which would never end; too_large above MAX_FILE.
      OSError where the file cannot be looked at.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _SPECIAL if is_kind(status.st_mode)), "no regular file")
        raise ImageError("unreadable", f"{kind}, not a file")
    if status.st_size > MAX_FILE:
        raise ImageError("too_large", f"file of {status.st_size} bytes, limit {MAX_FILE}")
    return status.st_size


def refuse_foreign(head: bytes) -> None:
    """Refuses a file whose first HEAD bytes tell what it is.

    Raises:
      ImageError: archive, or not_dicom with the kind of file.
    """
    archive = _archive(head)
    if archive:
        raise ImageError("archive", f"{archive}; unpack it")
    kind = binary_kind(head) or _text_kind(head)
    if kind:
        raise ImageError("not_dicom", kind)


def binary_kind(head: bytes) -> str:
    """What a file is by its first HEAD bytes, where those are not text that could stand in a table; "" if unknown."""
    for signature, name in (_POINTER, *_FOREIGN):
        if head.startswith(signature):
            return name
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a BMP image"
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"AVI "):
        return "a WebP image" if head[8:12] == b"WEBP" else "an AVI video"
    if head[4:8] == b"ftyp":
        return "an HEIF or AVIF image, or a video"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "a NIfTI volume"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "an Analyze header"
    return _archive(head)


def _archive(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for signature, name in _ARCHIVES if head.startswith(signature)), "")


def _text_kind(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").removeprefix(b"\xff\xfe").lstrip().lower()
    if b"annex/objects/" in text[:400]:
        return "a git-annex pointer; `git annex get` fetches what it stands for"
    for beginning, name in _TEXTS:
        if text.startswith(beginning):
            return name
    return "nothing but zeros, as a copy that broke off leaves it" if head and not head.strip(b"\0") else ""
