"""Charts as SVG without script: bars over time, with the exact numbers in each bar's title. Colours come from the style sheet by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

WIDTH, HEIGHT = 900, 160


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of a column, in the chart's coordinates."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Column:
    """One point in time: its parts, and what its title says."""

    x: float
    width: float
    title: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Chart:
    """`top`: the value at the upper edge; `times`: what stands below it, from its left edge to its right one, evenly; `empty`: there is nothing to see."""

    columns: list[Column]
    top: float
    times: list[str]
    empty: bool


def stacked(kinds: Sequence[str], values: Sequence[Sequence[float]], titles: Sequence[str], times: Sequence[str] = ()) -> Chart:
    """Columns of `values` (one number for each kind) standing on each other; `times` as `axis` has them."""
    top = nice(max((sum(one) for one in values), default=0.0))
    step = WIDTH / max(1, len(values))
    columns = []
    for index, (one, title) in enumerate(zip(values, titles, strict=True)):
        x, y, bars = index * step, float(HEIGHT), []
        for kind, value in zip(kinds, one, strict=True):
            height = value / top * HEIGHT if top else 0.0
            if height > 0:
                y -= height
                bars.append(Bar(round(x, 2), round(y, 2), round(max(0.5, step - 1), 2), round(height, 2), kind))
        columns.append(Column(round(x, 2), round(step, 2), title, bars))
    return Chart(columns, top, list(times), not any(any(one) for one in values))


def axis(begin: int, end: int, step: int = 1) -> list[str]:
    """Five times from `begin` to `end`, which are minutes since 1970, in UTC, each at the beginning of a point of `step`: days where it is more than two of them."""
    form = "%H:%M" if end - begin <= 2 * 1440 else "%d %b"
    return [datetime.fromtimestamp((begin + (end - begin) * part // 4 // step * step) * 60, UTC).strftime(form) for part in range(5)]


def nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 0.0
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    while scale > value:
        scale /= 10
    return next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= value)
