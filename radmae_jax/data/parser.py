"""Parses the elements of a DICOM data set out of its bytes (PS3.5 section 7), in whatever state they are.

pydicom's parser loses its place at a value representation that it does not know, and with it the file. This one takes
what PS3.5 6.2 prescribes for those, skips what nobody asked for without looking at it, and never converts a value.
"""

from dataclasses import dataclass

from radmae_jax.data.element_heads import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONG,
    MOST_ELEMENTS,
    PIXEL_TAGS,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    Encoding,
    NeedMore,
    end_of,
    head_at,
    number_at,
    require,
    tag_at,
)

__all__ = [
    "EXPLICIT_LITTLE", "IMPLICIT_LITTLE", "PIXEL_TAGS", "UNDEFINED", "Element", "Elements", "Encoding", "NeedMore",
    "Parsed", "Pixels", "items_of", "parse", "read_meta", "syntax_of",
]  # fmt: skip


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
        head = head_at(data, at, size, encoding)
        if head is None:
            ends_in = 0 if at < size else None
            break
        count += 1
        out_of_order = head.tag <= last or (count == 1 and head.tag >> 16 != 0x0008)
        if (out_of_order and not prefix) or count > MOST_ELEMENTS:
            strange = f"element {count} out of order" if count > 1 else "no DICOM element"
            return Parsed(elements, encoding, prefix, None, None, strange)
        last = max(last, head.tag)
        if head.tag in PIXEL_TAGS:
            pixels = Pixels(head.tag, head.start, head.length, head.vr != "OB")
            return Parsed(elements, encoding, prefix, pixels, None, "")
        end = end_of(data, head, size, encoding)
        if end > size:
            ends_in = head.tag
        elif head.tag in wanted:
            elements[head.tag] = Element(head.vr, require(data, end)[head.start : end], encoding)
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
        tag, length = tag_at(value, at, encoding), number_at(value, at + 4, 4, encoding)
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
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
        head = head_at(value, at, end, encoding)
        if head is None:
            break
        if head.tag == ITEM_END:
            return elements, head.start
        stop = end_of(value, head, end, encoding)
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
        head = head_at(data, at, size, EXPLICIT_LITTLE)
        if head is None or head.tag >> 16 != 0x0002:
            return elements, at, None
        end = end_of(data, head, size, EXPLICIT_LITTLE)
        if end > size:
            return elements, at, head.tag
        elements[head.tag] = Element(head.vr, require(data, end)[head.start : end], EXPLICIT_LITTLE)
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
    explicit = first[4:6] in SHORT or first[4:6] in LONG
    if named is not None and not named.implicit:
        explicit = explicit or (first[4:6].isalpha() and first[4:6].isupper())  # one that this table does not know
    if named is None:
        # Group 8 is the first of a data set: its bytes tell the order.
        return Encoding(not explicit, not (explicit and first[:2] == b"\0\x08"))
    return named if named.implicit != explicit else Encoding(not explicit, named.little)
