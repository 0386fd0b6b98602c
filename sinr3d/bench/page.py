"""HTML pages that hold all they need: no script, nothing from a network, every text escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
body { margin: 0; background: #fff; color: #222; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; overflow-wrap: anywhere }
p { max-width: 46rem; margin: .5rem 0 }
figure { margin: 1rem 0 }
figure img, figure svg { display: block; width: 100%; max-width: 100%; height: auto }
figcaption, caption { color: #666; font-size: .875rem; text-align: left; margin: .4rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; margin: .75rem 0 }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap }
th { font-weight: 600; border-bottom-color: #999 }
th:first-child, td:first-child, .text { text-align: left }
td.text { white-space: normal; min-width: 9rem; color: #666 }
tr.ours td { font-weight: 600; color: #c8102e }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .875rem }
dt { color: #666 }
dd { margin: 0; overflow-wrap: anywhere }
"""
# The page may use its own styles and pictures inside it, and nothing else.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: plain text.
        parts: HTML from the functions below.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A heading under the page's own."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def picture(png: bytes, caption: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode("ascii")
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def drawing(svg: str, caption: str) -> str:
    """An SVG element, as `svg.for_page` gives it."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def facts(values: Mapping[str, object]) -> str:
    """Names and values."""
    rows = (f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in values.items())
    return f"<dl>{''.join(rows)}</dl>"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    texts: Sequence[int] = (),
    ours: int | None = None,
) -> str:
    """A table: the first column is text, the others are numbers.

    Args:
        headings: one a column.
        rows: plain text.
        caption: above it.
        texts: further columns that are text.
        ours: the row that stands out.
    """
    head = "".join(f"<th{_text(i in texts)}>{escape(cell)}</th>" for i, cell in enumerate(headings))
    body = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td{_text(i in texts)}>{escape(cell)}</td>" for i, cell in enumerate(row))
        kind = ' class="ours"' if place == ours else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    inner = f"{above}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _text(is_text: bool) -> str:
    return ' class="text"' if is_text else ""
