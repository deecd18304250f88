"""Charts as SVG inside a page, which name their values when pointed at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seq2seq.reporting.markup import escaped

BAR_WIDTH, BAR_HEIGHT, BAR_FOOT = 360, 150, 18
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46.0, 352.0, 10.0, 176.0  # of the area inside the axes
TICKS = 5
MAX_POINTS = 100
"""Drawn of a line; of a longer one, the lowest and highest point of each of 50 equal parts."""
STYLES = 4
"""Colours of lines in report.css."""


@dataclass(frozen=True)
class Line:
    """A line of a chart; a value that is NaN leaves a gap."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Scale:
    """Places values of one axis on the picture; logarithmic, or from `low` to `high` in equal steps."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + (self.end - self.begin) * share

    def ticks(self) -> list[float]:
        """Return at most `TICKS` + 1 round values between `low` and `high`."""
        if not self.logarithmic:
            step = round_step(self.high - self.low)
            first = math.ceil(self.low / step - 1e-9)
            return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors: tuple[int, ...] = (1, 2, 5) if len(exponents) < 4 else (1,)
        found = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [value for value in found if self.low <= value <= self.high]
        return inside[:: -(-len(inside) // (TICKS + 1))] or [self.low, self.high]


def round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten, of which `span` has about `TICKS`."""
    raw = span / TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def bars(title: str, values: Sequence[tuple[str, int]]) -> str:
    """Return a bar chart; each bar names its range and number when it is pointed at."""
    highest, step = max((count for _, count in values), default=1) or 1, BAR_WIDTH / max(1, len(values))
    drawn, base = [], BAR_HEIGHT - BAR_FOOT
    for place, (label, count) in enumerate(values):
        size = base * count / highest
        shape = f'x="{place * step:.1f}" y="{base - size:.1f}" width="{0.9 * step:.1f}" height="{size:.1f}"'
        drawn.append(f"<rect {shape}><title>{escaped(label)}: {count:,}</title></rect>")
    ends = ""
    if values:
        ends = f'<text x="0" y="{BAR_HEIGHT - 4}">{escaped(values[0][0])}</text>'
        ends += f'<text x="{BAR_WIDTH}" y="{BAR_HEIGHT - 4}" text-anchor="end">{escaped(values[-1][0])}</text>'
    picture = f'<svg viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" aria-label="{escaped(title)}">'
    return f"<figure>{picture}{''.join(drawn)}{ends}</svg><figcaption>{escaped(title)}</figcaption></figure>"


def lines(
    title: str,
    across: str,
    drawn: Sequence[Line],
    names: Sequence[str] = (),
    *,
    logarithmic: bool = False,
    unit: bool = False,
) -> str:
    """Return a line chart with axes, whose values are read by pointer or arrow keys (report.js).

    Args:
        title: of the values; plain text.
        across: title of the horizontal axis.
        drawn: at least one line with a finite value.
        names: in the order of the legend, if it names other lines, too.
        logarithmic: of the values, if they are positive and differ by more than a factor of 5.
        unit: both axes go from 0 to 1, with the diagonal.
    """
    thinned = [thin(line) for line in drawn]
    xs = [x for line in thinned for x in line.xs]
    ys = [y for line in thinned for y in line.ys if math.isfinite(y)]
    low, high = (0.0, 1.0) if unit else (min(ys), max(ys))
    logarithmic = logarithmic and 0 < 5 * low < high
    if not unit and not logarithmic:
        edge = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        low, high = low - edge, high + edge
    across_scale = Scale(0.0, 1.0 if unit else max(xs) or 1.0, LEFT, RIGHT)
    up_scale = Scale(low, high, BOTTOM, TOP, logarithmic)
    parts = [_axes(across_scale, up_scale, across)]
    if unit:
        parts.append(f'<path class="ideal" d="M{LEFT} {BOTTOM}L{RIGHT} {TOP}"/>')
    parts += [
        _line(line, list(names).index(line.name) if names else number, across, across_scale, up_scale)
        for number, line in enumerate(thinned)
    ]
    label = escaped(f"{title}: {'; '.join(map(summary, drawn))}", 1000)
    return (
        f'<figure class="chart"><figcaption>{escaped(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{label}">{"".join(parts)}</svg>'
        '<output class="faint" aria-live="polite">&nbsp;</output></figure>'
    )


def legend(names: Sequence[str]) -> str:
    """Return the names of the lines, each with its colour and dashes."""
    keys = (
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="{style(number)}" d="M1 4L27 4"/></svg>'
        f"<bdi>{escaped(name)}</bdi></li>"
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(keys)}</ul>'


def style(number: int) -> str:
    """Return the class of a line."""
    return f"line line{number % STYLES}"


def summary(line: Line) -> str:
    """Return a line in words, for those who do not see it."""
    points = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    if not points:
        return f"{line.name} has no values"
    (first, begin), (last, end) = points[0], points[-1]
    values = [y for _, y in points]
    return (
        f"{line.name} from {begin:.4g} at {first:,.4g} to {end:.4g} at {last:,.4g}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}"
    )


def thin(line: Line) -> Line:
    """Return a line of at most `MAX_POINTS` points."""
    points = list(zip(line.xs, line.ys, strict=True))
    if len(points) <= MAX_POINTS:
        return line
    kept, size = {0, len(points) - 1}, len(points) / (MAX_POINTS // 2 - 1)
    for part in range(MAX_POINTS // 2 - 1):
        places = range(int(part * size), int((part + 1) * size))
        finite = [place for place in places if math.isfinite(points[place][1])] or [places[0]]
        kept |= {min(finite, key=lambda place: points[place][1]), max(finite, key=lambda place: points[place][1])}
    chosen = [points[place] for place in sorted(kept)]
    return Line(line.name, [x for x, _ in chosen], [y for _, y in chosen])


def _axes(across: Scale, up: Scale, title: str) -> str:
    grid = [
        f'<path class="grid" d="M{LEFT} {up(value):.1f}L{RIGHT} {up(value):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{up(value) + 4:.1f}" text-anchor="end">{value:,.4g}</text>'
        for value in up.ticks()
    ]
    grid += [
        f'<path class="grid" d="M{across(value):.1f} {BOTTOM}L{across(value):.1f} {BOTTOM + 4}"/>'
        f'<text x="{across(value):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{_short(value)}</text>'
        for value in across.ticks()
    ]
    name = f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escaped(title)}</text>'
    return f'{"".join(grid)}<path class="axis" d="M{LEFT} {TOP}L{LEFT} {BOTTOM}L{RIGHT} {BOTTOM}"/>{name}'


def _short(value: float) -> str:
    return f"{value:,.6g}" if value < 1e5 else f"{value / 1000:,.6g}k"


def _line(line: Line, number: int, title: str, across: Scale, up: Scale) -> str:
    places = [(across(x), up(y) if math.isfinite(y) else math.nan, x, y) for x, y in zip(line.xs, line.ys, strict=True)]
    name = escaped(line.name, 80)
    points = "".join(
        f'<circle class="point{number % STYLES}" cx="{x:.1f}" cy="{y:.1f}" r="2">'
        f"<title>{name}, {escaped(title)} {at:,.6g}: {value:.5g}</title></circle>"
        for x, y, at, value in places
        if math.isfinite(y)
    )
    return f'<path class="{style(number)}" d="{_path((x, y) for x, y, *_ in places)}"/>{points}'


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Return the path through points, with a gap where one is NaN."""
    drawn, command = [], "M"
    for x, y in points:
        if math.isfinite(y):
            drawn.append(f"{command}{x:.1f} {y:.1f}")
        command = "L" if math.isfinite(y) else "M"
    return "".join(drawn)
