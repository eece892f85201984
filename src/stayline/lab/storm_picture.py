"""The picture of a storm: PNG, and a page of its own with the same picture and a table."""

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stayline.lab.storm_curve import SHARES, Curve
from stayline.lab.storm_figures import StormDetail, StormFigures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = (9.0, 5.0)
_DPI = 130
_PLAYED = ("#00695c", "#c62828", "#5e35b1")
_MODELLED = ("#607d8b", "#ef9a9a", "#b0bec5")

PNG, PAGE = "storm.png", "storm.html"


def draw(
    folder: Path, curves: Sequence[Curve], figures: StormFigures, detail: StormDetail
) -> tuple[Path, Path]:
    """Write ``storm.png`` and ``storm.html`` into ``folder``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = _figure(curves, figures)
    png, page = folder / PNG, folder / PAGE
    figure.savefig(png, dpi=_DPI)
    text = io.StringIO()
    # No date: the same storm gives the same picture.
    figure.savefig(text, format="svg", metadata={"Date": None})
    page.write_text(page_of(_inline(text.getvalue()), curves, figures, detail), encoding="utf-8")
    return png, page


def _figure(curves: Sequence[Curve], figures: StormFigures) -> "Figure":
    # The library takes half a second to load: only who draws pays for it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.add_subplot()
    played, modelled = iter(_PLAYED), iter(_MODELLED)
    for one in curves:
        colours = modelled if one.modelled else played
        xs, ys = [0.0, *one.back, one.end], [0, *range(1, len(one.back) + 1), len(one.back)]
        style = "--" if one.name == "ideal" else ":" if one.modelled else "-"
        width = 1.4 if one.modelled else 2.2
        axes.plot(xs, ys, style, label=one.name, color=next(colours, "black"), linewidth=width)
    axes.set_xlabel("seconds since agents were told to move")
    axes.set_ylabel("agents back")
    axes.set_title(f"{figures.agents} agents move to the other site at once", loc="left")
    axes.set_xlim(left=0)
    axes.set_ylim(0, figures.agents * 1.04)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def _inline(svg: str) -> str:
    """The drawing alone: what stands before it belongs to a file of its own."""
    return re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.DOTALL)


def page_of(svg: str, curves: Sequence[Curve], figures: StormFigures, detail: StormDetail) -> str:
    """The page: nothing on it comes from elsewhere."""
    head = "".join(f"<th>{'all' if share == 1.0 else f'{share:.0%}'} back</th>" for share in SHARES)
    rows = "".join(_row(one) for one in curves)
    facts = "".join(
        f"<tr><th>{html.escape(key.replace('_', ' '))}</th><td>{html.escape(_shown(value))}</td></tr>"
        for part in (figures, detail)
        for key, value in msgspec.to_builtins(part).items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Storm of {figures.agents} agents</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }}
svg {{ width: 100%; height: auto }} table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd; font-weight: normal }}
td {{ font-variant-numeric: tabular-nums }} thead th {{ font-weight: 600 }}
</style></head><body>
<h1>{figures.agents} agents move to the other site at once</h1>
<p>{html.escape(detail.why)}</p>
{svg}
<table><thead><tr><th>Curve</th>{head}<th>Agents back</th></tr></thead><tbody>{rows}</tbody></table>
<table><tbody>{facts}</tbody></table>
</body></html>
"""


def _row(one: Curve) -> str:
    times = [one.reached(share) for share in SHARES]
    cells = "".join(f"<td>{f'{at:.1f} s' if at is not None else 'never'}</td>" for at in times)
    return f"<tr><th>{html.escape(one.name)}</th>{cells}<td>{len(one.back)} of {one.agents}</td></tr>"


def _shown(value: object) -> str:
    if value is None:
        return "never"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
