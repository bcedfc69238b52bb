"""Parses the elements of a DICOM data set out of its bytes (PS3.5 section 7), in whatever state they are.

pydicom's parser loses its place at a value representation that it does not know, and with it the file. This one takes
what PS3.5 6.2 prescribes for those, skips what nobody asked for without looking at it, and never converts a value.
"""

from dataclasses import dataclass
from typing import Literal

UNDEFINED = 0xFFFFFFFF
PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # 16-bit length
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two reserved bytes, 32-bit length
_MOST_ELEMENTS = 100_000
_DEEPEST = 32  # sequences in sequences
_CHAIN = 4  # elements that must follow: two random bytes are a known representation once in 2,000 times


@dataclass(frozen=True)
class Encoding:
    """How a data set is written."""

    implicit: bool  # without value representations
    little: bool  # endian

    @property
    def order(self) -> Literal["little", "big"]:
        return "little" if self.little else "big"


EXPLICIT_LITTLE, IMPLICIT_LITTLE = Encoding(False, True), Encoding(True, True)


@dataclass(frozen=True)
class Element:
    """One element as it is in the file."""

    vr: str  # value representation, "" under implicit encoding
    value: bytes
    encoding: Encoding


Elements = dict[int, Element]  # by tag: group << 16 | element


@dataclass(frozen=True)
class Pixels:
    """Where the pixel data element's value is."""

    tag: int
    start: int  # byte at which the value begins
    length: int  # as declared; UNDEFINED when encapsulated
    words: bool  # VR OW, or another that is not OB


@dataclass(frozen=True)
class Parsed:
    """What was found before the pixel data, or before the file ended."""

    elements: Elements  # of the file meta information and the data set, those that were asked for
    encoding: Encoding  # of the data set
    prefix: bool  # whether the file begins with a preamble and DICM
    pixels: Pixels | None
    ends_in: int | None  # tag of the element in which the file ends, 0 where it ends in a tag; None: between elements
    strange: str  # why this is no DICOM file, of a file without the prefix; "" otherwise


class NeedMore(Exception):
    """The parser needs the first `size` bytes of the file."""

    def __init__(self, size: int):
        super().__init__(size)
        self.size = size


@dataclass(frozen=True)
class _Head:
    tag: int
    vr: str
    length: int
    start: int  # of the value


def parse(data: bytes, size: int, wanted: frozenset[int], syntaxes: dict[str, Encoding]) -> Parsed:
    """Parses the file meta information and the data set up to the pixel data.

    Args:
      data: the file's first bytes.
      size: bytes of the complete file.
      wanted: tags of the elements to keep; the others are skipped unread.
      syntaxes: how data sets of some transfer syntaxes are written; others are explicit little endian (PS3.5 A.4).

    Raises:
      NeedMore: `data` ends before what has to be looked at.
    """
    prefix = data[128:132] == b"DICM"
    elements, at, ends_in = read_meta(data, size)
    uid = syntax_of(elements)
    encoding = _written_as(data, at, size, syntaxes.get(uid, EXPLICIT_LITTLE) if uid else None)
    last, count = -1, 0
    while ends_in is None:
        head = _head(data, at, size, encoding)
        if head is None:
            ends_in = 0 if at < size else None
            break
        count += 1
        out_of_order = head.tag <= last or (count == 1 and head.tag >> 16 != 0x0008)
        if (out_of_order and not prefix) or count > _MOST_ELEMENTS:
            strange = f"element {count} out of order" if count > 1 else "no DICOM element"
            return Parsed(elements, encoding, prefix, None, None, strange)
        last = max(last, head.tag)
        if head.tag in PIXEL_TAGS:
            pixels = Pixels(head.tag, head.start, head.length, head.vr != "OB")
            return Parsed(elements, encoding, prefix, pixels, None, "")
        end = _end_of(data, head, size, encoding)
        if end > size:
            ends_in = head.tag
        elif head.tag in wanted:
            elements[head.tag] = Element(head.vr, _cut(data, head.start, end), encoding)
        at = end
    return Parsed(elements, encoding, prefix, None, ends_in, "")


def items_of(element: Element) -> list[Elements]:
    """The items of a sequence; those before the damage where it is damaged.

    The content of a sequence written as UN is implicit little endian (PS3.5 6.2.2), whatever the file is. Where the
    items do not parse to the end as they should be written, the other ways are tried.
    """
    own = IMPLICIT_LITTLE if element.vr == "UN" else element.encoding
    best: list[Elements] = []
    for encoding in dict.fromkeys((own, element.encoding, IMPLICIT_LITTLE, EXPLICIT_LITTLE)):
        items, complete = _items(element.value, encoding)
        if complete:
            return items
        best = best or items
    return best


def _items(value: bytes, encoding: Encoding) -> tuple[list[Elements], bool]:
    found: list[Elements] = []
    at = 0
    while at + 8 <= len(value):
        tag, length = _tag(value, at, encoding), _number(value, at + 4, 4, encoding)
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            return found, False
        end = len(value) if length == UNDEFINED else at + 8 + length
        elements, at = _item(value, at + 8, min(end, len(value)), encoding)
        found.append(elements)
        if end > len(value) or (length != UNDEFINED and at != end):
            return found, False
    return found, True


def _item(value: bytes, at: int, end: int, encoding: Encoding) -> tuple[Elements, int]:
    """The elements of an item whose content begins at `at`, and where it ended."""
    elements: Elements = {}
    while at < end:
        head = _head(value, at, end, encoding)
        if head is None:
            break
        if head.tag == _ITEM_END:
            return elements, head.start
        stop = _end_of(value, head, end, encoding)
        if stop > end:
            break
        elements[head.tag] = Element(head.vr, value[head.start : stop], encoding)
        at = stop
    return elements, at


def read_meta(data: bytes, size: int) -> tuple[Elements, int, int | None]:
    """The file meta information (group 2, explicit little endian), where it ends, and the tag of the element in which
    the file does.

    Args:
      data: the file's first bytes.
      size: bytes of the complete file.

    Raises:
      NeedMore: `data` ends before the group does.
    """
    elements: Elements = {}
    at = 132 if data[128:132] == b"DICM" else 0
    while True:
        head = _head(data, at, size, EXPLICIT_LITTLE)
        if head is None or head.tag >> 16 != 0x0002:
            return elements, at, None
        end = _end_of(data, head, size, EXPLICIT_LITTLE)
        if end > size:
            return elements, at, head.tag
        elements[head.tag] = Element(head.vr, _cut(data, head.start, end), EXPLICIT_LITTLE)
        at = end


def syntax_of(meta: Elements) -> str:
    """The transfer syntax UID that the file meta information names, "" for none."""
    element = meta.get(0x00020010)
    return "" if element is None else element.value.rstrip(b"\0 ").decode("latin-1")


def _written_as(data: bytes, at: int, size: int, named: Encoding | None) -> Encoding:
    """How the data set at `at` is written: as the transfer syntax says, unless its first element shows otherwise."""
    first = data[at : min(at + 8, size)]
    if len(first) < 8:
        return named or IMPLICIT_LITTLE
    explicit = first[4:6] in _SHORT or first[4:6] in _LONG
    if named is not None and not named.implicit:
        explicit = explicit or (first[4:6].isalpha() and first[4:6].isupper())  # one that this table does not know
    if named is None:
        # Group 8 is the first of a data set: its bytes tell the order.
        return Encoding(not explicit, not (explicit and first[:2] == b"\0\x08"))
    return named if named.implicit != explicit else Encoding(not explicit, named.little)


def _head(data: bytes, at: int, size: int, encoding: Encoding) -> _Head | None:
    """Tag, representation and length of the element at `at`; None where the file ends before."""
    if at + 8 > size:
        return None
    _require(data, min(at + 12, size))
    tag = _tag(data, at, encoding)
    if encoding.implicit or tag >> 16 == 0xFFFE:
        return _Head(tag, "", _number(data, at + 4, 4, encoding), at + 8)
    vr = data[at + 4 : at + 6]
    if vr in _SHORT:
        return _Head(tag, vr.decode(), _number(data, at + 6, 2, encoding), at + 8)
    if at + 12 > size:
        return None
    long = _Head(tag, "UN", _number(data, at + 8, 4, encoding), at + 12)
    if vr in _LONG:
        return _Head(tag, vr.decode(), long.length, long.start)
    # A representation that is younger than this table has 32 bits of length (PS3.5 6.2). Some writers put none, or one
    # of their own with 16 bits: what leads to next elements is right.
    short = _Head(tag, "UN", _number(data, at + 6, 2, encoding), at + 8)
    none = _Head(tag, "", _number(data, at + 4, 4, encoding), at + 8)
    candidates = (long, short, none) if vr.isalpha() and vr.isupper() else (short, none, long)
    for candidate in candidates:
        if _leads_on(data, candidate, size, encoding):
            return candidate
    return candidates[0]


def _leads_on(data: bytes, head: _Head, size: int, encoding: Encoding) -> bool:
    """Whether an element's value is followed by the end, or by elements of known representations."""
    at = head.start + head.length
    if head.length == UNDEFINED:
        return head.start + 8 <= size and _tag(_require(data, head.start + 8), head.start, encoding) >> 16 == 0xFFFE
    for _ in range(_CHAIN):
        if at == size:
            return True
        if at + 8 > size:
            return False
        tag = _tag(_require(data, min(at + 12, size)), at, encoding)
        vr = data[at + 4 : at + 6]
        if tag >> 16 == 0xFFFE:  # the end of an item
            return True
        if vr in _SHORT:
            at += 8 + _number(data, at + 6, 2, encoding)
        elif vr in _LONG and at + 12 <= size:
            length = _number(data, at + 8, 4, encoding)
            if length == UNDEFINED or tag in PIXEL_TAGS:
                return True
            at += 12 + length
        else:
            return False
    return True


def _end_of(data: bytes, head: _Head, size: int, encoding: Encoding, depth: int = 0) -> int:
    """Where an element's value ends; more than `size` where it is cut off."""
    if head.length != UNDEFINED:
        return head.start + head.length
    # UN is implicit little endian inside (PS3.5 6.2.2), unless a writer thought otherwise.
    if head.vr == "UN":
        for way in (IMPLICIT_LITTLE, encoding, EXPLICIT_LITTLE):
            end = _end_of_items(data, head.start, size, way, depth)
            if end <= size and _tag(data, end - 8, way) == _SEQUENCE_END:
                return end
    return _end_of_items(data, head.start, size, encoding, depth)


def _end_of_items(data: bytes, at: int, size: int, encoding: Encoding, depth: int) -> int:
    for _ in range(_MOST_ELEMENTS):
        if at + 8 > size:
            return size + 1
        _require(data, at + 8)
        tag, length = _tag(data, at, encoding), _number(data, at + 4, 4, encoding)
        if tag == _SEQUENCE_END:
            return at + 8
        if tag != _ITEM:
            return at  # its delimiter is missing
        at = at + 8 + length if length != UNDEFINED else _end_of_item(data, at + 8, size, encoding, depth + 1)
    return size + 1


def _end_of_item(data: bytes, at: int, size: int, encoding: Encoding, depth: int) -> int:
    for _ in range(_MOST_ELEMENTS if depth < _DEEPEST else 0):
        head = _head(data, at, size, encoding)
        if head is None:
            return size + 1
        if head.tag == _ITEM_END:
            return head.start
        if head.tag == _SEQUENCE_END:
            return at
        at = _end_of(data, head, size, encoding, depth)
    return size + 1


def _require(data: bytes, size: int) -> bytes:
    if size > len(data):
        raise NeedMore(size)
    return data


def _cut(data: bytes, start: int, end: int) -> bytes:
    return _require(data, end)[start:end]


def _tag(data: bytes, at: int, encoding: Encoding) -> int:
    return _number(data, at, 2, encoding) << 16 | _number(data, at + 2, 2, encoding)


def _number(data: bytes, at: int, width: int, encoding: Encoding) -> int:
    return int.from_bytes(data[at : at + width], encoding.order)
