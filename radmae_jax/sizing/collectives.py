"""A compiled program's text to the bytes that one device receives from others, loops counted as often as they run."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_PARTS = ("all-gather", "reduce-scatter")  # whose two sides differ by what the others hold
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_OPERATION = re.compile(r"^\s*(?:ROOT )?%?(?P<own>[\w.\-]+) = (?P<type>.*?) (?P<name>[a-z][a-z0-9\-]*)\((?P<rest>.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"(?:to_apply|calls|branch_computations|called_computations)=\{?(%[\w.\-]+(?:, ?%[\w.\-]+)*)")
_LOOP = re.compile(r"condition=%([\w.\-]+), body=%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_VALUE = re.compile(r"^(\d+)\)")
_INDEX = re.compile(r"index=(\d+)")


@dataclass
class _Computation:
    moved: list[tuple[str, str, int]] = field(default_factory=list)  # kind, channel, bytes of one run
    calls: list[tuple[str, int]] = field(default_factory=list)  # computation and how often it is run
    operations: dict[str, tuple[str, str]] = field(default_factory=dict)  # what each is, and what follows its bracket
    root: str = ""


def received_bytes(text: str) -> dict[str, int]:
    """Bytes that one device must receive in one run of the program, by kind of collective.

    Of a gather what it gives less the device's own part, of a reduce-scatter what it takes less what it gives, of an
    all-reduce its array once, though rings move it nearly twice. Parts of one that runs beside others (its start, its
    end) count once: they share a channel.

    Args:
      text: HLO after optimisation, `compiled.as_text()`.
    """
    computations, entry = _read(text)
    of_channel: dict[tuple[str, str], int] = defaultdict(int)

    def add(name: str, times: int) -> None:
        found = computations.get(name, _Computation())
        for kind, channel, size in found.moved:
            of_channel[kind, channel] = max(of_channel[kind, channel], times * size)
        for called, count in found.calls:
            add(called, times * count)

    add(entry, 1)
    total: dict[str, int] = defaultdict(int)
    for (kind, _), size in of_channel.items():
        total[kind] += size
    return dict(total)


def _read(text: str) -> tuple[dict[str, _Computation], str]:
    """The computations by name, and the name of the one that is entered."""
    computations: dict[str, _Computation] = {}
    loops: list[tuple[_Computation, str, str, int | None]] = []
    entry, current, types = "", None, {}
    for number, line in enumerate(text.splitlines()):
        head = _HEAD.match(line)
        if head:
            current, types = computations.setdefault(head[2], _Computation()), {}
            entry = head[2] if head[1] else entry
            continue
        operation = _OPERATION.match(line)
        if current is None or operation is None:
            continue
        name, kind, rest = operation["name"], operation["name"].removesuffix("-start"), operation["rest"]
        current.operations[operation["own"]] = name, rest
        current.root = operation["own"] if line.lstrip().startswith("ROOT") else current.root
        types[operation["own"]] = operation["type"]
        if kind in _KINDS:
            operands = rest.split(")", 1)[0]
            given = sum(_bytes(types.get(operand, "")) for operand in _NAME.findall(operands))
            taken = _bytes(operation["type"]) - (given if name != kind and operation["type"].startswith("(") else 0)
            channel = _CHANNEL.search(rest)
            received = abs(taken - given) if kind in _PARTS else max(given, taken)
            current.moved.append((kind, channel[1] if channel else f"line {number}", received))
        elif name == "while" and (loop := _LOOP.search(rest)):
            known = _TRIPS.search(rest)
            loops.append((current, loop[1], loop[2], int(known[1]) if known else None))
        for names in _CALLED.findall(rest):
            current.calls += [(called, 1) for called in _NAME.findall(names)]
    for outer, condition, body, known in loops:
        trips = _trips(computations[condition], computations[body]) if known is None else known
        outer.calls.append((body, trips))
    return computations, entry


def _trips(condition: _Computation, body: _Computation) -> int:
    """How often a loop from 0 runs: its condition compares one of its values with a number, to which the body adds a
    step; 1 where it is another kind of loop."""
    kind, rest = condition.operations.get(condition.root, ("", ""))
    compared = _NAME.findall(rest.split(")", 1)[0])
    if kind != "compare" or "direction=LT" not in rest or len(compared) != 2:
        return 1
    limit, index = _number(condition, compared[1]), _INDEX.search(condition.operations.get(compared[0], ("", ""))[1])
    values = _NAME.findall(body.operations.get(body.root, ("", ""))[1].split(")", 1)[0])
    if limit is None or index is None or int(index[1]) >= len(values):
        return 1
    kind, rest = body.operations.get(values[int(index[1])], ("", ""))
    steps = [_number(body, name) for name in _NAME.findall(rest.split(")", 1)[0])] if kind == "add" else []
    step = next((step for step in steps if step), 1)
    return max(1, -(-limit // step))


def _number(computation: _Computation, name: str) -> int | None:
    """The value of a constant."""
    kind, rest = computation.operations.get(name, ("", ""))
    value = _VALUE.match(rest)
    return int(value[1]) if kind == "constant" and value else None


def _bytes(types: str) -> int:
    """Bytes of all arrays in a text of types."""
    return sum(_size(bits, name, dimensions) for name, bits, dimensions in _ARRAY.findall(types))


def _size(bits: str, name: str, dimensions: str) -> int:
    count = 1
    for dimension in filter(None, dimensions.split(",")):
        count *= int(dimension)
    return count * max(1, (8 if name == "pred" else int(bits)) // 8)
