"""Geometry of the charts: numbers in, rectangles and ticks out. Drawn as SVG by the templates, with a table beside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SERIES = 9
"""Named series of a stacked chart; the rest is summed up as Other."""
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 12, 24


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    series: int
    """Number of its series: 0 is the largest, at the bottom of the stack."""
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Chart:
    width: int
    height: int
    bars: tuple[Bar, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM

    @property
    def base(self) -> int:
        """Where zero is."""
        return self.height - self.bottom

    @property
    def end(self) -> int:
        return self.width - self.right


def stacked(
    labels: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    unit: str = "",
    width: int = 760,
    height: int = 240,
    steps: int = 4,
    names: Sequence[str] | None = None,
) -> Chart:
    """Bars stacked from zero, one for each label. `series` holds (name, a value for each label), largest first.

    `names` says a bar's moment in its tooltip where the axis label is shorter.
    """
    slots = max(1, len(labels))
    totals = [sum(values[i] for _, values in series) for i in range(len(labels))]
    top, step = scale(max(totals, default=0), steps, whole=unit != "$")
    span = height - TOP - BOTTOM
    room = (width - LEFT - RIGHT) / slots
    gap = min(4.0, room * 0.2)
    bars = []
    for i in range(len(labels)):
        y = float(height - BOTTOM)
        moment = names[i] if names else labels[i]
        for number, (name, values) in enumerate(series):
            if values[i] <= 0:
                continue
            tall = values[i] / top * span
            y -= tall
            x = LEFT + i * room + gap / 2
            title = f"{moment} · {name}: {_value(values[i], unit)}" if name else f"{moment}: {_value(values[i], unit)}"
            bars.append(Bar(round(x, 2), round(y, 2), round(room - gap, 2), round(tall, 2), number, title))
    every = max(1, math.ceil(len(labels) / (width / 90)))
    # Counted from the newest, so that the last label is always written.
    shown = [i for i in range(len(labels)) if (len(labels) - 1 - i) % every == 0]
    return Chart(
        width=width,
        height=height,
        bars=tuple(bars),
        y_ticks=tuple(
            Tick(round(height - BOTTOM - k * step / top * span, 2), _tick(k * step, step))
            for k in range(round(top / step) + 1)
        ),
        x_ticks=tuple(Tick(round(LEFT + (i + 0.5) * room, 2), labels[i]) for i in shown),
    )


def scale(largest: float, steps: int = 4, *, whole: bool = False) -> tuple[float, float]:
    """(top of the axis, distance of its ticks): a round number at or above the largest, in about `steps` steps."""
    if largest <= 0:
        return 1.0, 1.0
    rough = largest / steps
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    if whole:
        step = max(1, math.ceil(step))
    return step * max(1, math.ceil(round(largest / step, 9))), step


def _tick(value: float, step: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.0f}k" if step >= 1000 else f"{value / 1000:,.1f}k"
    decimals = 0 if step >= 1 and step == int(step) else max(2, -math.floor(math.log10(step)))
    return f"{value:,.{decimals}f}"


def _value(value: float, unit: str) -> str:
    if unit == "$":
        return f"${value:,.2f}" if value >= 0.01 else "<$0.01"
    return f"{value:,.0f}{unit}"
