"""A layout as a PNG or an SVG file, drawn by matplotlib, which the extra `charts` brings."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollotape.charts.layout import BODY_SHARE, BOTTOM, LEFT, RIGHT, SMALL, Layout, Rect
from rollotape.errors import Refused

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
DPI = 100
POINTS = 8.5
_SIDES = {"accumulation": "#1b6ca8", "distribution": "#b3541e"}
_RULE_SETS = {"seed-1": "#7a3db8", "classic-1": "#8a8a8a"}
_UP, _DOWN, _INK, _FAINT = "#2f8f5b", "#c0473c", "#333333", "#999999"


def check(out: Path) -> None:
    """Whether such a file can be drawn here.

    Raises:
        Refused: the suffix is none of ours, or matplotlib is not installed.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise Refused(f"{out}: a picture ends in {' or '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise Refused("pictures need matplotlib: install it with `pip install 'rollotape[charts]'`")


def draw(layout: Layout, out: Path) -> None:
    """Write the picture; equal layouts give equal files."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kind = out.suffix.lower().removeprefix(".")
    fixed: Any = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "rollotape", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(layout.width / DPI, layout.height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, layout.width)
        axes.set_ylim(0, layout.height)
        axes.set_axis_off()
        for part in (_grid, _boxes, _bars, _words):
            part(axes, layout)
        figure.savefig(out, format=kind, metadata=fixed, facecolor="white")


def _grid(axes: "Axes", layout: Layout) -> None:
    frame, right = layout.frame, layout.width - RIGHT
    for y, text in layout.prices:
        axes.plot((LEFT, right), (y, y), color="#eeeeee", linewidth=0.7, zorder=0)
        axes.text(right + 5, y, text, fontsize=POINTS * SMALL, color=_INK, va="center")
    for x, text in layout.dates:
        axes.plot((x, x), (BOTTOM, frame.ceiling), color="#f3f3f3", linewidth=0.7, zorder=0)
        axes.text(x, BOTTOM - 5, text, fontsize=POINTS * SMALL, color=_INK, ha="center", va="top")
    axes.text(LEFT, layout.height - 9, layout.content.title, fontsize=POINTS, color=_INK, va="top")


def _boxes(axes: "Axes", layout: Layout) -> None:
    for box in layout.content.boxes:
        color = _SIDES[box.side]
        _rectangles(axes, [layout.outline(box)], color, alpha=0.07, zorder=0.5)
        outline = layout.outline(box)
        for y in (outline.bottom, outline.top):
            axes.plot((outline.left, outline.right), (y, y), color=color, linewidth=0.8, zorder=0.8)
    for name, spot, box in layout.phases:
        color = _SIDES[box.side]
        low, high = layout.outline(box).bottom, layout.outline(box).top
        axes.plot((spot.left - 1,) * 2, (low, high), color=color, linewidth=0.5, linestyle=":", zorder=0.8)
        axes.text(
            spot.left, spot.top, name, fontsize=POINTS * SMALL, color=color, va="top", fontweight="bold"
        )


def _bars(axes: "Axes", layout: Layout) -> None:
    frame = layout.frame
    half, thin = frame.step * BODY_SHARE / 2, min(0.5, frame.step * 0.1)
    for up, color in ((True, _UP), (False, _DOWN)):
        chosen = [(frame.x(n), b) for n, b in enumerate(layout.content.bars) if (b.close >= b.open) is up]
        wicks = [Rect(x - thin, frame.y(b.low), x + thin, frame.y(b.high)) for x, b in chosen]
        bodies = [_body(x, half, frame.y(b.open), frame.y(b.close)) for x, b in chosen]
        volumes = [Rect(x - half, BOTTOM, x + half, frame.volume(b.volume)) for x, b in chosen]
        _rectangles(axes, wicks + bodies, color, alpha=1, zorder=2)
        _rectangles(axes, volumes, color, alpha=0.45, zorder=2)


def _body(x: float, half: float, first: float, second: float) -> Rect:
    """At least a line, where a bar closes as it opened."""
    low, high = sorted((first, second))
    return Rect(x - half, low - 0.4, x + half, max(high, low) + 0.4)


def _rectangles(axes: "Axes", spots: list[Rect], color: str, *, alpha: float, zorder: float) -> None:
    from matplotlib.collections import PolyCollection

    corners: Any = [
        ((s.left, s.bottom), (s.right, s.bottom), (s.right, s.top), (s.left, s.top)) for s in spots
    ]
    axes.add_collection(
        PolyCollection(corners, facecolors=color, edgecolors="none", alpha=alpha, zorder=zorder)
    )


def _words(axes: "Axes", layout: Layout) -> None:
    for word in layout.words:
        mark, spot = word.mark, word.place
        small = mark.side in _RULE_SETS
        color = _FAINT if mark.is_gone else (_RULE_SETS if small else _SIDES).get(mark.side, _FAINT)
        if word.tip is not None:
            edge = spot.top if mark.below else spot.bottom
            middle = (spot.left + spot.right) / 2
            axes.plot((middle, word.tip[0]), (edge, word.tip[1]), color=color, linewidth=0.4, alpha=0.7)
        axes.text(
            (spot.left + spot.right) / 2,
            (spot.bottom + spot.top) / 2,
            f"({word.text})" if mark.is_gone else word.text,
            fontsize=POINTS * (SMALL if small else 1),
            fontweight="normal" if small or mark.is_gone else "bold",
            fontstyle="italic" if small else "normal",
            color=color,
            ha="center",
            va="center",
            zorder=5,
        )
