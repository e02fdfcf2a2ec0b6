"""The page of a report: one HTML file that needs nothing else, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from benchmarks.plot import bars_svg, svg
from benchmarks.report import Bars, Curve, Number, Report, shown

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --soft: #666; --grid: #ddd; --good: #17803d;
  --bad: #b91c1c; --line-0: #2563eb; --line-1: #d9480f; --line-2: #17803d; --line-3: #9333ea; --line-4: #b45309;
  --line-5: #0e7490; --line-6: #be185d; --line-7: #57534e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181d; --ink: #e6e6e6; --soft: #a0a0a0; --grid: #3a3d44;
  --good: #4ade80; --bad: #f87171; --line-0: #7aa2ff; --line-1: #ff9a62; --line-2: #5fd38a; --line-3: #c9a0ff;
  --line-4: #f0b357; --line-5: #5cc8dd; --line-6: #ff8abf; --line-7: #b8b2a9; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid var(--grid); }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.soft, th { color: var(--soft); } .met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
svg { width: 100%; max-width: 44rem; font: 12px system-ui, sans-serif; } h2 { margin-top: 2.2rem; }
"""


def page(report: Report) -> str:
    """The whole HTML document."""
    told = (report.numbers, report.bar_plots, report.curves, report.notes)
    names = dict.fromkeys(item.benchmark for items in told for item in items)
    body = "\n".join([_head(report), *(_section(report, name) for name in names)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>crossmargin benchmarks</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in report.machine.items())
    quick = "<p class=missed>A quick run: small sizes, which show that everything works, not how fast it is.</p>"
    failed = f"<p class=missed>Did not finish: {escape(', '.join(report.failed))}.</p>"
    return (
        f"<h1>crossmargin benchmarks</h1>{quick if report.quick else ''}{failed if report.failed else ''}"
        f"<table>{rows}</table>"
    )


def _section(report: Report, name: str) -> str:
    numbers = [number for number in report.numbers if number.benchmark == name]
    notes = "".join(f"<li>{escape(note.text)}</li>" for note in report.notes if note.benchmark == name)
    curves = "".join(_curve(curve) for curve in report.curves if curve.benchmark == name)
    bars = "".join(_bars(plot) for plot in report.bar_plots if plot.benchmark == name)
    return f"<h2>{escape(name)}</h2>{_table(numbers)}{f'<ul>{notes}</ul>' if notes else ''}{bars}{curves}"


def _table(numbers: list[Number]) -> str:
    if not numbers:
        return ""
    head = "<tr><th>what</th><th>value</th><th>unit</th><th>under</th><th>load</th></tr>"
    return f"<table>{head}{''.join(_rows(numbers))}</table>"


def _rows(numbers: list[Number]) -> Iterable[str]:
    for number in numbers:
        verdict = {True: ", met", False: ", missed", None: ""}[number.met]
        kind = {True: "met", False: "missed", None: "soft"}[number.met]
        wanted = f'<br><span class="{kind}">wanted: {escape(number.wanted)}{verdict}</span>' if number.wanted else ""
        yield (
            f'<tr><td>{escape(number.what)}{wanted}</td><td class="number">{shown(number.value)}</td>'
            f'<td>{escape(number.unit)}</td><td class="soft">{escape(number.under)}</td>'
            f'<td class="number soft">{number.load:.1f}</td></tr>'
        )


def _curve(curve: Curve) -> str:
    plot = svg(curve.lines, title=curve.title, x_label=curve.x_label, y_label=curve.y_label)
    return f"<h3>{escape(curve.title)}</h3>{plot}"


def _bars(plot: Bars) -> str:
    return f"<h3>{escape(plot.title)}</h3>{bars_svg(plot.values, title=plot.title, unit=plot.unit)}"
