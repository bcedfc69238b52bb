"""Curves, histograms and counts to small inline SVG charts that take their colours from the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from radmae_jax.evaluate.report.axes import Axis, spanning, tick_text

_WIDTH, _HEIGHT = 320, 226  # of a chart, in units of about a pixel; it is drawn as wide as its column
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 10, 44
_LARGEST = 1.25  # times that size a chart is drawn at most, so that all have letters of like size
_MARKERS = ("circle", "square", "triangle", "diamond", "down")
_CELLS = 44  # a side of the map of sizes


@dataclass(frozen=True, eq=False)
class Line:
    """A curve; `low` and `high` are ends of intervals at its points, NaN where there is none."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray = ()
    high: Sequence[float] | np.ndarray = ()
    colour: int = 0  # of the page's series colours; -1: `share` along its sequence of one hue
    share: float = 0.0  # from 0 to 1
    marked: bool = False  # points are drawn
    faint: bool = False

    @property
    def paint(self) -> Markup:
        """Class and style of all that is drawn of it."""
        faint = " faint" if self.faint else ""
        if self.colour < 0:
            return Markup('class="along{}" style="--t:{}%"').format(faint, round(100 * self.share))
        return Markup('class="s{}{}"').format(self.colour % 6, faint)


def line_chart(
    lines: list[Line], title: str, x_name: str, y_name: str, *, log_x: bool = False, log_y: bool = False,
    share: bool = False, level: tuple[float, str] | None = None, x_ticks: Sequence[float] = (), from_zero: bool = False,
) -> Markup:  # fmt: skip
    """Curves over one axis.

    Args:
      title: what a reader who does not see it is told.
      share: y is a share from 0 to 1, written in %.
      level: a value of y and its name, drawn as a broken line.
      x_ticks: values to be written below the axis instead of round ones.
    """
    xs = [float(x) for line in lines for x in line.x]
    ys = [float(v) for line in lines for part in (line.y, line.low, line.high) for v in part]
    if level:
        ys.append(level[0])
    if from_zero:
        xs.append(0.0)
    across = spanning(xs, _LEFT, _WIDTH - _RIGHT, log_x)
    down = spanning(ys, _HEIGHT - _BOTTOM, _TOP, log_y)
    if share:  # from a fifth below all there is: for two classes the lower half is empty
        least = min((y for y in ys if math.isfinite(y)), default=0.0)
        down = Axis(max(0.0, math.floor(5 * (least - 0.04)) / 5), 1.0, _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(across, down, x_name, y_name, share, x_ticks)]
    if level:
        y = down.at(level[0])
        parts.append(_path([(_LEFT, y), (_WIDTH - _RIGHT, y)], Markup('class="level"')))
        parts.append(_text(_WIDTH - _RIGHT, y + 12 if down.begin - y > 16 else y - 4, level[1], "end"))
    for at, line in enumerate(lines):
        # A little to the side of each other, so that whiskers at the same x can be told apart.
        aside = 3.5 * (at - (len(lines) - 1) / 2) if any(len(other.low) for other in lines) else 0.0
        parts.append(_line(line, across, down, aside, share))
    return _svg(_WIDTH, _HEIGHT, title, parts)


def legend(lines: list[Line], notes: Sequence[str] = ()) -> Markup:
    """What the colours and marks of a chart mean, as a list."""
    items = []
    for at, line in enumerate(lines):
        mark = _marker(line.colour, 11, 7) if line.marked else ""
        swatch = Markup('<svg class="swatch" viewBox="0 0 22 14" aria-hidden="true"><g {}>{}{}</g></svg>').format(
            line.paint, _path([(1, 7), (21, 7)], Markup('class="curve"')), mark
        )
        note = Markup(' <span class="soft">{}</span>').format(notes[at]) if at < len(notes) and notes[at] else ""
        items.append(Markup("<li>{}<span><b>{}</b>{}</span></li>").format(swatch, line.name, note))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def histogram(values: np.ndarray, title: str, x_name: str, y_name: str, marks: Sequence[float] = ()) -> Markup:
    """How many values lie where, with marks (of bucket lengths) as upright lines."""
    low, high = (float(values.min()), float(max(values.max(), *marks) if len(marks) else values.max()))
    bins = min(60, max(8, int(math.sqrt(len(values)) * 1.5)))
    counts, edges = np.histogram(values, bins=bins, range=(min(low, high - 1), high))
    across = Axis(float(edges[0]), float(edges[-1]), _LEFT, _WIDTH - _RIGHT)
    down = Axis(0.0, float(max(counts.max(), 1)) * 1.06, _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(across, down, x_name, y_name)]
    for number, left, right in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        if number:
            x, width = across.at(left), across.at(right) - across.at(left)
            parts.append(_rect(x, down.at(number), max(width - 0.6, 0.6), down.at(0) - down.at(number), "bar"))
    for mark in marks:
        parts.append(_path([(across.at(mark), _TOP), (across.at(mark), down.at(0))], Markup('class="mark"')))
    return _svg(_WIDTH, _HEIGHT, title, parts)


def size_map(heights: np.ndarray, widths: np.ndarray, title: str) -> Markup:
    """Where images lie by width and height in pixels, the more the stronger, drawn to one scale both ways."""
    largest = float(max(heights.max(), widths.max())) * 1.03
    side = _WIDTH - _LEFT - _RIGHT
    height = side + _TOP + _BOTTOM
    across, down = Axis(0.0, largest, _LEFT, _WIDTH - _RIGHT), Axis(0.0, largest, height - _BOTTOM, _TOP)
    counts, _, _ = np.histogram2d(widths, heights, bins=_CELLS, range=[[0, largest], [0, largest]])
    parts = [_frame(across, down, "width, pixels", "height, pixels", height=height)]
    parts.append(_path([(across.at(0), down.at(0)), (across.at(largest), down.at(largest))], Markup('class="level"')))
    cell, most = side / _CELLS, math.log1p(counts.max())
    for column, row in zip(*np.nonzero(counts), strict=True):
        strength = 0.25 + 0.75 * math.log1p(counts[column, row]) / most
        x, y = _LEFT + column * cell, height - _BOTTOM - (row + 1) * cell
        parts.append(_rect(x, y, cell - 0.4, cell - 0.4, "bar", f"{strength:.2f}"))
    return _svg(_WIDTH, height, title, parts)


def reliability(bins: list[dict[str, Any]], title: str) -> Markup:
    """How often the model was right against how sure it was; points as large as their bin has images."""
    filled = [b for b in bins if b.get("images") and b.get("accuracy") is not None and b.get("confidence") is not None]
    side = 236
    height = side + _TOP + _BOTTOM
    width = side + _LEFT + _RIGHT
    across, down = Axis(0.0, 1.0, _LEFT, width - _RIGHT), Axis(0.0, 1.0, height - _BOTTOM, _TOP)
    parts = [_frame(across, down, "how sure the model was", "how often it was right", True, height=height, width=width)]
    parts.append(_path([(_LEFT, down.at(0)), (width - _RIGHT, down.at(1))], Markup('class="level"')))
    most = max((b["images"] for b in filled), default=1)
    points = [(across.at(b["confidence"]), down.at(b["accuracy"])) for b in filled]
    parts.append(Markup('<g class="s0">'))
    for (x, y), b in zip(points, filled, strict=True):
        said = f"{b['images']:,} images, {100 * b['confidence']:.1f} % sure, {100 * b['accuracy']:.1f} % right"
        radius = 2.5 + 6.5 * math.sqrt(b["images"] / most)
        parts.append(
            Markup('<circle class="point" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                _n(x), _n(y), _n(radius), said
            )
        )
    parts.append(Markup("</g>"))
    return _svg(width, height, title, parts)


def bar(share: float) -> Markup:
    """A bar of a share from 0 to 1 as wide as its cell; the figure is to stand beside it."""
    drawn = Markup('<rect class="bar" x="0" y="3" height="10" rx="1" width="{}%"/>').format(_n(100 * share))
    return Markup('<svg class="strip" height="16" aria-hidden="true">{}</svg>').format(drawn)


def whisker(interval: dict[str, Any], levels: Sequence[float | None] = (), colour: int = 0) -> Markup:
    """A value from 0 to 1 with its interval on a line as wide as its cell; levels are broken upright lines."""
    value, low, high = (interval.get(name) for name in ("value", "low", "high"))
    parts = [Markup('<line class="ground" x1="0" x2="100%" y1="9" y2="9"/>')]
    for level in levels:
        if level is not None:
            at = _n(100 * level)
            parts.append(Markup('<line class="level" x1="{}%" x2="{}%" y1="0" y2="18"/>').format(at, at))
    if low is not None and high is not None:
        ends = (_n(100 * low), _n(100 * high))
        parts.append(Markup('<line class="interval" x1="{}%" x2="{}%" y1="9" y2="9"/>').format(*ends))
    if value is not None:
        parts.append(Markup('<circle class="point" cx="{}%" cy="9" r="4"/>').format(_n(100 * value)))
    drawn = Markup("").join(parts)
    return Markup('<svg class="strip" height="18" aria-hidden="true"><g class="s{}">{}</g></svg>').format(colour, drawn)


def _line(line: Line, across: Axis, down: Axis, aside: float, share: bool) -> Markup:
    places = [
        (across.at(x) + aside, down.at(y)) if math.isfinite(y) and (y > 0 or not down.log) else None
        for x, y in zip(line.x, line.y, strict=True)
    ]
    parts = [_path([place for place in places if place], Markup('class="curve"'))]
    for at, place in enumerate(places):
        if place is None or not line.marked:
            continue
        low, high = (float(ends[at]) if len(ends) else math.nan for ends in (line.low, line.high))
        known = math.isfinite(low) and math.isfinite(high)
        if known:
            x, foot, head = place[0], down.at(low), down.at(high)
            parts += [
                _path(ends, Markup('class="interval"'))
                for ends in ([(x, foot), (x, head)], [(x - 3, foot), (x + 3, foot)], [(x - 3, head), (x + 3, head)])
            ]
        write: Callable[[float], str] = (lambda v: f"{100 * v:.1f}") if share else (lambda v: f"{v:.4g}")
        said = f"{line.name}, {tick_text(float(line.x[at]))}: {write(float(line.y[at]))}{' %' if share else ''}"
        said += f" ({write(low)} to {write(high)})" if known else ""
        parts.append(Markup("<g>{}<title>{}</title></g>").format(_marker(line.colour, *place), said))
    return Markup("<g {}>{}</g>").format(line.paint, Markup("").join(parts))


def _marker(series: int, x: float, y: float) -> Markup:
    kind = _MARKERS[max(series, 0) % len(_MARKERS)]
    if kind == "circle":
        return Markup('<circle class="point" cx="{}" cy="{}" r="3.3"/>').format(_n(x), _n(y))
    offsets = {
        "square": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "triangle": ((0, -3.8), (3.6, 2.8), (-3.6, 2.8)),
        "diamond": ((0, -4), (3.7, 0), (0, 4), (-3.7, 0)),
        "down": ((0, 3.8), (3.6, -2.8), (-3.6, -2.8)),
    }[kind]
    corners = " ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in offsets)
    return Markup('<polygon class="point" points="{}"/>').format(corners)


def _frame(
    across: Axis, down: Axis, x_name: str, y_name: str, share: bool = False, x_ticks: Sequence[float] = (),
    height: int = _HEIGHT, width: int = _WIDTH,
) -> Markup:  # fmt: skip
    """Grid lines, ticks and names of both axes."""
    foot = height - _BOTTOM
    parts = []
    for value in down.ticks(6):
        y = down.at(value)
        parts.append(_path([(_LEFT, y), (width - _RIGHT, y)], Markup('class="grid"')))
        parts.append(_text(_LEFT - 6, y + 3.5, f"{100 * value:.0f} %" if share else tick_text(value), "end"))
    both = share and (across.low, across.high) == (0.0, 1.0)
    for value in x_ticks or across.ticks(6):
        x = across.at(value)
        parts.append(_path([(x, foot), (x, foot + 4)], Markup('class="axis"')))
        parts.append(_text(x, foot + 16, f"{100 * value:.0f} %" if both else tick_text(value), "middle"))
    parts.append(_path([(_LEFT, foot), (width - _RIGHT, foot)], Markup('class="axis"')))
    parts.append(_text((_LEFT + width - _RIGHT) / 2, height - 8, x_name, "middle"))
    middle = (_TOP + foot) / 2
    parts.append(
        Markup('<text x="12" y="{}" text-anchor="middle" transform="rotate(-90 12 {})">{}</text>').format(
            _n(middle), _n(middle), y_name
        )
    )
    return Markup("").join(parts)


def _svg(width: float, height: float, title: str, parts: list[Markup]) -> Markup:
    drawn = Markup("").join(parts)
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" style="max-width:{}px" role="img" aria-label="{}">').format(
        width, height, round(_LARGEST * width), title
    )
    return head + drawn + Markup("</svg>")


def _path(points: Sequence[tuple[float, float]], kind: Markup) -> Markup:
    if not points:
        return Markup("")
    return Markup('<path {} d="M{}"/>').format(kind, "L".join(f"{_n(x)} {_n(y)}" for x, y in points))


def _rect(x: float, y: float, width: float, height: float, kind: str, opacity: str = "1") -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" opacity="{}"/>').format(
        kind, _n(x), _n(y), _n(width), _n(height), opacity
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_n(x), _n(y), anchor, escape(text))


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
