"""Curves, intervals and graphs as SVG that needs no script and no style of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 10, 22
COLOURS = 8  # classes c0 … c7 of desk.css


class Frame(NamedTuple):
    """Where values lie in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    def at(self, x: float, y: float) -> str:
        return f"{self.across(x):.1f},{self.down(y):.1f}"

    def across(self, x: float) -> float:
        low, high = self.x
        return LEFT + (x - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        low, high = self.y
        told = math.log10(y) if self.log else y
        return HEIGHT - BOTTOM - (told - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def _frame(series: Mapping[str, Points], limit: float | None, log: bool) -> Frame:
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + ([] if limit is None else [limit])
    if log:
        ys = [math.log10(y) for y in ys]
    low, high = min(ys), max(ys)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Frame((min(xs), max(xs)), (low, high), log)


def lines(
    series: Mapping[str, Points], title: str, limit: float | None = None, log: bool = False
) -> Markup:
    """Curves over one axis, with a legend; `limit` is a dashed line. What is not finite, and on a
    log axis what is not positive, is left out; nothing to draw is an empty string."""
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)]
        for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return Markup("")
    frame = _frame(kept, limit, log)
    body = [_axes(frame)]
    if limit is not None:
        y = frame.down(limit)
        body.append(Markup('<path class="limit" d="M{} {:.1f}H{}"/>').format(
            LEFT, y, WIDTH - RIGHT))  # fmt: skip
    for number, points in enumerate(kept.values()):
        drawn = " ".join(frame.at(x, y) for x, y in points)
        body.append(Markup('<polyline class="line c{}" points="{}"/>').format(
            number % COLOURS, drawn))  # fmt: skip
        x, y = points[-1]
        body.append(Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(
            number % COLOURS, frame.across(x), frame.down(y)))  # fmt: skip
    last = ", ".join(f"{name} {points[-1][1]:.4g}" for name, points in kept.items())
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>{}</figure>'
    ).format(title, WIDTH, HEIGHT, f"{title}: {last}", Markup("").join(body), _legend(kept))


def _axes(frame: Frame) -> Markup:
    parts = []
    for share in (0.0, 0.5, 1.0):
        value = frame.y[0] + share * (frame.y[1] - frame.y[0])
        told = 10**value if frame.log else value
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(
            LEFT, y, WIDTH - RIGHT))  # fmt: skip
        parts.append(Markup('<text class="tick end" x="{}" y="{:.1f}">{:.3g}</text>').format(
            LEFT - 5, y + 3.5, told))  # fmt: skip
    for x, name in zip(frame.x, ("", " end"), strict=True):
        parts.append(Markup('<text class="tick{}" x="{:.1f}" y="{}">{:g}</text>').format(
            name, frame.across(x), HEIGHT - 6, x))  # fmt: skip
    return Markup("").join(parts)


def _legend(series: Mapping[str, Points]) -> Markup:
    items = [Markup('<li class="c{}"><span>{}</span> {:.4g}</li>').format(
        number % COLOURS, name, points[-1][1])
        for number, (name, points) in enumerate(series.items())]  # fmt: skip
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def interval(
    value: float | None, low: float | None, high: float | None, limit: float | None
) -> Markup:
    """A share with its bounds on a line from 0 to 1, and the limit it is held against."""
    if value is None:
        return Markup("")
    ends = [end for end in (value, low, high, limit) if end is not None]
    top = max(1.0 if max(ends) <= 1 else max(ends) * 1.1, 1e-9)
    scale = 120 / top

    def at(x: float) -> str:
        return f"{4 + min(max(x, 0), top) * scale:.1f}"

    parts = [Markup('<path class="grid" d="M4 9H124"/>')]
    if low is not None and high is not None:
        parts.append(Markup('<path class="reach" d="M{} 9H{}"/>').format(at(low), at(high)))
    parts.append(Markup('<circle class="dot" cx="{}" cy="9" r="3.5"/>').format(at(value)))
    if limit is not None:
        parts.append(Markup('<path class="limit" d="M{} 2V16"/>').format(at(limit)))
    return Markup('<svg class="interval" viewBox="0 0 128 18" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def spark(counts: Sequence[int], title: str) -> Markup:
    """Counts of successive periods as small bars."""
    if not counts:
        return Markup("")
    top, wide = max(max(counts), 1), 120 / len(counts)
    bars = [Markup('<path class="bar" d="M{:.1f} 24V{:.1f}h{:.1f}V24z"/>').format(
        number * wide, 24 - 22 * count / top, max(wide - 1, 0.6))
        for number, count in enumerate(counts)]  # fmt: skip
    return Markup('<svg class="spark" viewBox="0 0 120 24" role="img" aria-label="{}">{}</svg>'
                  ).format(title, Markup("").join(bars))  # fmt: skip
