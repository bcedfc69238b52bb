"""Checks that the values of a labels file mean what they seem to: one text for each number, identifiers kept intact."""

import re
from collections import Counter, defaultdict
from decimal import Decimal

from radmae_jax.data.tables import Table, is_no_identifier, is_unknown
from radmae_jax.data.wording import counted

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]{1,3})?$")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+$")  # in comma files, where English numbers are quoted
_FLOAT_OF_WHOLE = re.compile(r"([0-9]+)[.,]0*$")
_ROUNDED = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+[0-9]+$")  # how a spreadsheet shows a long number
_SHOWN = 5  # pairs of values that a message lists


def check_labels(table: Table, column: str) -> list[str]:
    """Remarks on the values of a label column.

    Raises:
      ValueError: where two different texts are the same number, such as 0 and 0.0: they would be two classes.
    """
    first = _first_rows(table, column, identifiers=False)
    numbers: dict[Decimal, str] = {}
    for text, row in first.items():
        number = _number(text, table.delimiter)
        other = None if number is None else numbers.setdefault(number, text)
        if other not in (None, text):
            raise ValueError(
                f"{table.name}: column {column!r} has {other!r} (line {table.lines[first[other]]}) and {text!r} (line "
                f"{table.lines[row]}), two texts of one number, which would be two classes; write it in one way"
            )
    return _spellings(table, column, first)


def check_identifiers(table: Table, column: str) -> list[str]:
    """Remarks on the values of a column of patients or studies, which are names and no numbers: "01" is not "1".

    No value is named: they are identifiers.

    Raises:
      ValueError: where a spreadsheet or pandas made numbers of some of them: 123.0 beside 123, or 1.2E+11.
    """
    first = _first_rows(table, column, identifiers=True)
    for text, row in first.items():
        found = _FLOAT_OF_WHOLE.match(text)
        if found and found.group(1) in first:
            raise ValueError(
                f"{table.name}: column {column!r} has a whole number on line {table.lines[first[found.group(1)]]} and "
                f"the same one with decimals on line {table.lines[row]}: numbers were made of identifiers, and "
                f"one {column} would become two; export the column as text"
            )
        if _ROUNDED.match(text):
            raise ValueError(
                f"{table.where(row)}: column {column!r} has a number that a spreadsheet rounded (such as 1.2E+11), so "
                "several identifiers may have become one; export the column as text"
            )
    remarks = []
    floats = sum(bool(_FLOAT_OF_WHOLE.match(text)) for text in first)
    if floats:
        remarks.append(
            f"column {column!r}: {floats:,} of {len(first):,} identifiers end with .0 or ,0, as floats do: they differ "
            "from those of files without it"
        )
    stripped = Counter(text.lstrip("0") for text in first if text.isdecimal())
    padded = sum(count for count in stripped.values() if count > 1)
    if padded:
        remarks.append(
            f"column {column!r}: {padded:,} identifiers differ only in leading zeros from another one, and stay "
            f"different {'studies' if column.casefold() == 'study' else 'patients'}"
        )
    folded = Counter(" ".join(text.split()).casefold() for text in first)
    alike = sum(count for count in folded.values() if count > 1)
    if alike:
        remarks.append(f"column {column!r}: {alike:,} identifiers differ only in case or spaces from another one")
    return remarks


def _first_rows(table: Table, column: str, *, identifiers: bool) -> dict[str, int]:
    """The known values of a column, each with the first row that has it."""
    first: dict[str, int] = {}
    unknown = is_no_identifier if identifiers else is_unknown
    for row, text in enumerate(table.column(column)):
        if text not in first and not unknown(text):
            first[text] = row
    return first


def _number(text: str, delimiter: str) -> Decimal | None:
    if _DECIMAL_COMMA.match(text) and not (delimiter == "," and _THOUSANDS.match(text)):
        text = text.replace(",", ".")
    return Decimal(text) if _NUMBER.match(text) else None


def _spellings(table: Table, column: str, first: dict[str, int]) -> list[str]:
    """Values that differ in nothing but case or spaces, with how many rows have each."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in first:
        groups["".join(text.split()).casefold()].append(text)
    alike = [texts for texts in groups.values() if len(texts) > 1]
    if not alike:
        return []
    counts = Counter(table.column(column))
    shown = "; ".join(
        " and ".join(f"{text!r} ({counted(counts[text], 'row')})" for text in sorted(texts)) for texts in alike[:_SHOWN]
    )
    more = f"; and {len(alike) - _SHOWN:,} more" if len(alike) > _SHOWN else ""
    return [f"column {column!r} has values that differ only in case or spaces and stay different: {shown}{more}"]
