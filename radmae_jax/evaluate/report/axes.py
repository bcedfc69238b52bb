"""Values to places on a chart, and the round values that are written beside its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator


@dataclass(frozen=True)
class Axis:
    """A range of values, `low` drawn at `begin` and `high` at `end`, in units of the picture."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * (value - low) / (high - low)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the range."""
        if self.log:
            decades = math.log10(self.high / self.low)
            subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
            values = LogLocator(subs=subs, numticks=12).tick_values(self.low, self.high)
            if decades < 0.7:
                values = MaxNLocator(most - 1).tick_values(self.low, self.high)
        else:
            values = MaxNLocator(most - 1, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        low, high = sorted((self.begin, self.end))
        inside = [float(value) for value in values if value > 0 or not self.log]
        return [value for value in inside if low - 1e-6 <= self.at(value) <= high + 1e-6]


def spanning(values: Sequence[float] | np.ndarray, begin: float, end: float, log: bool = False) -> Axis:
    """An axis that holds all values with a little room; of equal values, or none, too."""
    finite = np.asarray([v for v in values if math.isfinite(v) and (v > 0 or not log)], np.float64)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 2.0)
    if log:
        margin = (high / low) ** 0.06 if high > low else 1.5
        return Axis(low / margin, high * margin, begin, end, True)
    margin = 0.06 * (high - low) if high > low else 0.5 * abs(high) or 0.5
    return Axis(low - margin, high + margin, begin, end)


def tick_text(value: float) -> str:
    """A tick as people write it: 0.05, 1,000, 20k, 1.5M."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    if size >= 1e3:
        return f"{value:,.0f}"
    if 0 < size < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:.4g}"
