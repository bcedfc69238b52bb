"""Decodes the bytes of a text file, whatever encoding a program exported it in, and names files that are no text."""

import gzip
import re
import zlib

from radmae_jax.data.foreign import HEAD, binary_kind

_HEAD = 4096  # bytes that tell UTF-16 without a mark, and a foreign file
_XLS = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OFFICE = ((b"xl/", "an Excel workbook (.xlsx)"), (b"opendocument.spreadsheet", "an OpenDocument spreadsheet (.ods)"))
_CONTROL = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


def text_of(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """The text of a file, with "\\n" at the end of its lines, and remarks on how it was decoded.

    Raises:
      ValueError: for an empty file and for one that is no text; the message names the file and what it is.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name} cannot be read as CSV or CSV.gz: {error}") from None
    foreign = foreign_file(data)
    if foreign:
        raise ValueError(f"{name} is {foreign}; export it as CSV")
    text, remarks = _decoded(data, name)
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").removesuffix("\x1a")
    if not text.strip("\0 \n\t"):
        raise ValueError(f"{name} is empty: it has no header")
    start = text.lstrip()[:200].casefold()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        raise ValueError(f"{name} is an HTML page, perhaps of a login or an error; download the CSV itself")
    if start.startswith("<?xml"):
        raise ValueError(f"{name} is an XML file; export it as CSV")
    if re.match(r'[\[{]\s*["{\[\]}]', start):
        raise ValueError(f"{name} is a JSON file; export it as CSV")
    _refuse_binary(text, name)
    return text, remarks


def foreign_file(data: bytes) -> str:
    """What a file is that is no text, by its first bytes; empty where nothing of the kind is known."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return next((what for mark, what in _OFFICE if mark in data), "a zip archive")
    if data.startswith(_XLS):
        return "an Excel workbook (.xls)"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return "a PNG or JPEG image"
    return binary_kind(data[:HEAD])


def _decoded(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    encoding = next((code for mark, code in _MARKS if data.startswith(mark)), "") or _utf16_without_mark(data)
    if encoding:
        try:
            return data.decode(encoding), ()
        except UnicodeDecodeError as error:
            if encoding != "utf-8-sig":
                raise ValueError(
                    f"{name} is {encoding.upper()} by its first bytes and damaged at byte {error.start}: {error.reason}"
                ) from None
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        try:
            text = data.decode("cp1252")  # Latin-1 with the letters that Windows adds
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return text, (f"{name} is not UTF-8 (line {line}) and is read as Latin-1: check accents and umlauts",)


def _utf16_without_mark(data: bytes) -> str:
    """UTF-16 shows as a NUL in every second byte of ASCII letters, and in none of the others."""
    head = data[: min(_HEAD, len(data) // 2 * 2)]
    first, second = head[0::2].count(0), head[1::2].count(0)
    least = max(2, len(head) // 2 // 10)  # one is a stray
    if second >= least and not first:
        return "utf-16-le"
    return "utf-16-be" if first >= least and not second else ""


def _refuse_binary(text: str, name: str) -> None:
    at = text.find("\0")
    if at >= 0:
        line = text.count("\n", 0, at) + 1
        raise ValueError(f"{name} line {line}: a NUL character; the file is binary or damaged")
    found = _CONTROL.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"{name} line {line}: control character {ord(found.group()):#04x}; the file is binary or damaged"
        )
