"""What a check of the doctor says: one word, why, and what to do."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "look", "stop", "skipped"]

_NAMED = 8  # records named in a sentence; all of them are in the JSON


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    ok: nothing to do; look: a person should look before the run; stop: the run would fail or teach nothing until it
    is fixed; skipped: nothing was checked, and `text` says why.
    """

    check: str
    verdict: Verdict
    text: str  # one sentence or two, for people
    notes: tuple[str, ...] = ()  # further lines
    records: tuple[int, ...] = ()  # rows of the manifest that it is about


def name_records(records: list[int] | tuple[int, ...]) -> str:
    """`record 7`, `records 7, 9 and 12`, or the first eight and how many more."""
    if len(records) == 1:
        return f"record {records[0]}"
    shown = [str(record) for record in records[:_NAMED]]
    if len(records) > _NAMED:
        return f"records {', '.join(shown)} and {len(records) - _NAMED} more"
    return f"records {', '.join(shown[:-1])} and {shown[-1]}"
