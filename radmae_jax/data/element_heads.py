"""Reads where the elements of a DICOM data set begin and end (PS3.5 section 7), also under unknown representations."""

from dataclasses import dataclass
from typing import Literal

UNDEFINED = 0xFFFFFFFF
PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # 16-bit length
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # two reserved bytes, 32-bit length
MOST_ELEMENTS = 100_000
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


class NeedMore(Exception):
    """The parser needs the first `size` bytes of the file."""

    def __init__(self, size: int):
        super().__init__(size)
        self.size = size


@dataclass(frozen=True)
class Head:
    """What stands before an element's value."""

    tag: int
    vr: str
    length: int
    start: int  # of the value


def head_at(data: bytes, at: int, size: int, encoding: Encoding) -> Head | None:
    """Tag, representation and length of the element at `at`; None where the file ends before."""
    if at + 8 > size:
        return None
    require(data, min(at + 12, size))
    tag = tag_at(data, at, encoding)
    if encoding.implicit or tag >> 16 == 0xFFFE:
        return Head(tag, "", number_at(data, at + 4, 4, encoding), at + 8)
    vr = data[at + 4 : at + 6]
    if vr in SHORT:
        return Head(tag, vr.decode(), number_at(data, at + 6, 2, encoding), at + 8)
    if at + 12 > size:
        return None
    long = Head(tag, "UN", number_at(data, at + 8, 4, encoding), at + 12)
    if vr in LONG:
        return Head(tag, vr.decode(), long.length, long.start)
    # A representation that is younger than this table has 32 bits of length (PS3.5 6.2). Some writers put none, or one
    # of their own with 16 bits: what leads to next elements is right.
    short = Head(tag, "UN", number_at(data, at + 6, 2, encoding), at + 8)
    none = Head(tag, "", number_at(data, at + 4, 4, encoding), at + 8)
    candidates = (long, short, none) if vr.isalpha() and vr.isupper() else (short, none, long)
    for candidate in candidates:
        if _leads_on(data, candidate, size, encoding):
            return candidate
    return candidates[0]


def _leads_on(data: bytes, head: Head, size: int, encoding: Encoding) -> bool:
    """Whether an element's value is followed by the end, or by elements of known representations."""
    at = head.start + head.length
    if head.length == UNDEFINED:
        return head.start + 8 <= size and tag_at(require(data, head.start + 8), head.start, encoding) >> 16 == 0xFFFE
    for _ in range(_CHAIN):
        if at == size:
            return True
        if at + 8 > size:
            return False
        tag = tag_at(require(data, min(at + 12, size)), at, encoding)
        vr = data[at + 4 : at + 6]
        if tag >> 16 == 0xFFFE:  # the end of an item
            return True
        if vr in SHORT:
            at += 8 + number_at(data, at + 6, 2, encoding)
        elif vr in LONG and at + 12 <= size:
            length = number_at(data, at + 8, 4, encoding)
            if length == UNDEFINED or tag in PIXEL_TAGS:
                return True
            at += 12 + length
        else:
            return False
    return True


def end_of(data: bytes, head: Head, size: int, encoding: Encoding, depth: int = 0) -> int:
    """Where an element's value ends; more than `size` where it is cut off."""
    if head.length != UNDEFINED:
        return head.start + head.length
    # UN is implicit little endian inside (PS3.5 6.2.2), unless a writer thought otherwise.
    if head.vr == "UN":
        for way in (IMPLICIT_LITTLE, encoding, EXPLICIT_LITTLE):
            end = _end_of_items(data, head.start, size, way, depth)
            if end <= size and tag_at(data, end - 8, way) == SEQUENCE_END:
                return end
    return _end_of_items(data, head.start, size, encoding, depth)


def _end_of_items(data: bytes, at: int, size: int, encoding: Encoding, depth: int) -> int:
    for _ in range(MOST_ELEMENTS):
        if at + 8 > size:
            return size + 1
        require(data, at + 8)
        tag, length = tag_at(data, at, encoding), number_at(data, at + 4, 4, encoding)
        if tag == SEQUENCE_END:
            return at + 8
        if tag != ITEM:
            return at  # its delimiter is missing
        at = at + 8 + length if length != UNDEFINED else _end_of_item(data, at + 8, size, encoding, depth + 1)
    return size + 1


def _end_of_item(data: bytes, at: int, size: int, encoding: Encoding, depth: int) -> int:
    for _ in range(MOST_ELEMENTS if depth < _DEEPEST else 0):
        head = head_at(data, at, size, encoding)
        if head is None:
            return size + 1
        if head.tag == ITEM_END:
            return head.start
        if head.tag == SEQUENCE_END:
            return at
        at = end_of(data, head, size, encoding, depth)
    return size + 1


def require(data: bytes, size: int) -> bytes:
    if size > len(data):
        raise NeedMore(size)
    return data


def tag_at(data: bytes, at: int, encoding: Encoding) -> int:
    return number_at(data, at, 2, encoding) << 16 | number_at(data, at + 2, 2, encoding)


def number_at(data: bytes, at: int, width: int, encoding: Encoding) -> int:
    return int.from_bytes(data[at : at + width], encoding.order)
