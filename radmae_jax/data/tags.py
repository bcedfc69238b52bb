"""Converts the elements of a parsed DICOM data set to texts and numbers, and says which element could not be."""

import logging
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword

from radmae_jax.data.image_error import ImageError
from radmae_jax.data.parser import Element, Elements, items_of

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_CHARACTER_SET = 0x00080005
_NUMERIC = frozenset("0123456789+-.eE, \\")  # what a value may consist of to be quoted: no name does


def tag_of(keyword: str) -> int:
    """The tag of an element by its keyword in PS3.6."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no keyword of PS3.6")
    return tag


@dataclass(frozen=True)
class DataSet:
    """A data set, or an item of a sequence, read by keyword.

    `odd` collects the keywords of elements that were there and could not be read; whoever needs one refuses the file.
    """

    elements: Elements
    odd: set[str] = field(default_factory=set)

    def has(self, keyword: str) -> bool:
        """Whether the element is there with a value."""
        element = self.elements.get(tag_of(keyword))
        return element is not None and len(element.value.strip(b" ")) > 0

    def size(self, keyword: str) -> int:
        """Bytes of the element's value; 0 where it is absent."""
        element = self.elements.get(tag_of(keyword))
        return 0 if element is None else len(element.value)

    def texts(self, keyword: str) -> list[str]:
        """All values as texts without surrounding spaces; [] where the element is absent or empty."""
        element = self.elements.get(tag_of(keyword))
        if element is None or not element.value:
            return []
        numbers = _unpacked(element, keyword)
        if numbers is not None:
            return [f"{value:g}" if isinstance(value, float) else str(value) for value in numbers]
        return [text.strip("\0 \t\r\n") for text in self._decoded(element.value).split("\\")]

    def text(self, keyword: str, limit: int = 64) -> str:
        """The first value, spaces and control characters collapsed, cut to `limit` characters (0: not cut)."""
        values = self.texts(keyword)
        text = " ".join("".join(c if c.isprintable() else " " for c in values[0]).split()) if values else ""
        return text[:limit] if limit else text

    def numbers(self, keyword: str) -> list[float | None]:
        """All values as finite numbers, None for each that is empty or none; [] where there is no value at all."""
        texts = self.texts(keyword)
        if not any(texts):
            return []
        values = [_number(text) for text in texts]
        if any(value is None and text for value, text in zip(values, texts, strict=True)):
            self.odd.add(keyword)
        return values

    def number(self, keyword: str) -> float | None:
        """The first value as a finite number; None where it is absent, empty or no number."""
        values = self.numbers(keyword)
        return values[0] if values else None

    def whole(self, keyword: str, default: int | None = None) -> int:
        """The first value as a whole number.

        Args:
          default: what an absent element means, and one that cannot be read; None: the file cannot do without it.

        Raises:
          ImageError (unreadable), naming element and value, where there is no default.
        """
        number = self.number(keyword)
        if number is not None and number == int(number):
            return int(number)
        if number is not None:
            self.odd.add(keyword)
        if default is None:
            raise ImageError("unreadable", f"{named(keyword)} is {self.shown(keyword)}, expected a whole number")
        return default

    def items(self, keyword: str) -> list["DataSet"]:
        """The items of a sequence; [] where it is absent, empty or damaged."""
        element = self.elements.get(tag_of(keyword))
        if element is None:
            return []
        set_of = {tag: e for tag, e in self.elements.items() if tag == _CHARACTER_SET}
        return [DataSet(set_of | item, self.odd) for item in items_of(element)]

    def shown(self, keyword: str) -> str:
        """The element's value for an error: quoted where it consists of digits, described otherwise, since a text in
        the wrong place may name a patient."""
        if not self.has(keyword):
            return "empty" if tag_of(keyword) in self.elements else "missing"
        text = "\\".join(self.texts(keyword))
        if text and set(text) <= _NUMERIC:
            return f"'{text if len(text) <= 32 else f'{text[:29]}...'}'"
        return f"a text of {len(text)} characters"

    def _decoded(self, value: bytes) -> str:
        try:
            return value.decode("ascii")
        except UnicodeDecodeError:
            pass
        element = self.elements.get(_CHARACTER_SET)
        names = [] if element is None else element.value.decode("latin-1").strip("\0 ").split("\\")
        try:
            with _quiet_pydicom():
                return decode_bytes(value, convert_encodings([name.strip() for name in names] or [""]), {0x5C})
        except (LookupError, ValueError):  # a character set that nobody knows: equal bytes stay equal texts
            return value.decode("latin-1")


# pydicom warns and logs of character sets that it dislikes. Filters are global to the process, and loader threads read
# at the same time, hence the lock.
_LOCK = threading.Lock()


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def named(keyword: str) -> str:
    """An element for people, such as "Rows (0028,0010)"."""
    tag = tag_of(keyword)
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _number(text: str) -> float | None:
    try:
        number = float(text) if "_" not in text else math.nan  # Python's own spelling
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unpacked(element: Element, keyword: str) -> list[float] | list[int] | None:
    """The values of a binary element; None for one of text."""
    vr = element.vr
    if vr in ("", "UN", "OB", "OW"):  # what the dictionary says it is; "US or SS" is taken as US
        vr = dictionary_VR(tag_of(keyword)).split(" or ")[0]
    if vr not in _NUMBERS:
        return None
    width = struct.calcsize(_NUMBERS[vr])
    count = len(element.value) // width
    little = element.encoding.little or element.vr == "UN"
    return list(struct.unpack_from(("<" if little else ">") + str(count) + _NUMBERS[vr], element.value))
