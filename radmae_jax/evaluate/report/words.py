"""Figures to the words of a page: shares in %, intervals, counts, p-values, always with the same digits."""

import math
import re
from typing import Any

from markupsafe import Markup, escape

MINUS, TIMES = "\u2212", "\u00d7"  # as typographers have them
_FIGURE = re.compile(
    rf"[+{MINUS}]?\d[\d.,]* (?:%|points)(?: \([\d., to+{MINUS}]+\))?|p [=&lt;]+ [\d.]*\d"  # with unit and interval
)
NONE = "not defined"  # what a figure is called that could not be computed


def percent(interval: dict[str, Any] | None) -> str:
    """A share from 0 to 1 with its interval: "81.2 % (76.0 to 85.9)"."""
    return _with_interval(interval, lambda share: f"{100 * share:.1f}", " %")


def area(interval: dict[str, Any] | None) -> str:
    """An area under a curve: "0.931 (0.902 to 0.955)"."""
    return _with_interval(interval, lambda value: f"{value:.3f}", "")


def points(interval: dict[str, Any] | None) -> str:
    """A difference of two shares in points of percent, with sign: "+12.3 points (8.0 to 16.9)"."""
    return _with_interval(interval, lambda share: _signed(100 * share), " points")


def share(value: float | None) -> str:
    """A share from 0 to 1 without an interval: "7.1 %"."""
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def level_of(value: float) -> str:
    """The level of intervals: "95 %"."""
    return f"{100 * value:g} %"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def probability(value: float | None) -> str:
    """A p-value: "p = 0.031", "p < 0.001"."""
    if value is None or not math.isfinite(value):
        return "p " + NONE
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 image", "1,204 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def rate(value: float) -> str:
    """A learning rate or the like, short: "0.001", "3e-05"."""
    return f"{value:g}"


def listed(parts: list[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def named(label: str, value: str) -> str:
    """A class by its name, or, where that is a number, by its label and number."""
    return f"{label} {value}" if value.isdigit() else value


def apart(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two intervals have no value in common; False where one is not defined."""
    if any(side.get(end) is None for side in (a, b) for end in ("low", "high")):
        return False
    return a["low"] > b["high"] or b["low"] > a["high"]


def whole(text: str) -> Markup:
    """A sentence whose figures, with unit and interval, are not broken over lines."""
    return Markup(_FIGURE.sub(r'<span class="n">\g<0></span>', str(escape(text))))


def scientific(value: float) -> Markup:
    """A large number: 8.7 times 10 to the 11, as HTML."""
    if value <= 0:
        return Markup("0")
    power = math.floor(math.log10(value))
    return Markup('<span class="n">{} {} 10<sup>{}</sup></span>').format(f"{value / 10.0**power:.1f}", TIMES, power)


def _with_interval(interval: dict[str, Any] | None, write: Any, unit: str) -> str:
    if interval is None or interval.get("value") is None:
        return NONE
    text = f"{write(interval['value'])}{unit}"
    low, high = interval.get("low"), interval.get("high")
    return text if low is None or high is None else f"{text} ({write(low)} to {write(high)})"


def _signed(value: float) -> str:
    rounded = f"{abs(value):.1f}"
    return rounded if float(rounded) == 0 else f"{'+' if value > 0 else MINUS}{rounded}"
