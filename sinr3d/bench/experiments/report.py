"""The report of an experiment, from its rows alone: a Markdown page, a picture, the rows themselves."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from sinr3d import files
from sinr3d.bench import curves
from sinr3d.bench.experiments import plots
from sinr3d.bench.experiments.averages import Average, averages, most_inputs, seeded_inputs
from sinr3d.bench.experiments.rows import Row, write_rows
from sinr3d.bench.experiments.runner import command_of

TITLES = {
    "c1": "C1: wider networks",
    "c2": "C2: deeper networks",
    "c3": "C3: meta-learned networks, no positional encoding",
    "c4": "C4: meta-learned networks, positional encoding",
    "c5": "C5: COIN++",
    "coin": "COIN as published",
    "occupancy": "Occupancy",
    "scenes": "Scenes",
    "sparsity": "The rule for s",
}
ABOUT = {
    "c1": "Each picture on its own, (h, m) = (2, 32), (3, 64), (3, 128), no positional encoding.",
    "c2": "Each picture on its own, (h, m) = (3, 64), (5, 64), (7, 64), no positional encoding.",
    "c3": "The networks start from an initialisation that was meta-learned on other pictures.",
    "c4": "As C3, with a frequency encoding of the coordinates.",
    "c5": "A base network that is the same for all pictures, and a latent vector for each patch that "
    "modulates it; beside it networks of their own.",
    "coin": "The networks of COIN at its 50,000 steps; dashed is what was published, the mean of 24 "
    "pictures. Its L x width is (L - 1, width) here.",
    "occupancy": "Inside and outside of shapes, three hidden matrices of 128 x 128.",
    "scenes": "Radiance fields trained by nerfstudio, their networks coded in every way; PSNR of test views.",
    "sparsity": "The hidden matrices of a network coded with more and more atoms, against 16 bits + Brotli.",
}
_OTHER_BASELINES = {
    "inric-paper+prior": "differences from a prior, against differences at 16 bits and Brotli",
    "coinpp": "COIN++, against its latents at 16 bits and Brotli",
    "shacira+sinr": "SINR on SHACIRA, against SHACIRA",
}
_PICTURES = ("c1", "c2", "c3", "c4", "c5", "coin")


def write(experiment: str, scale: str, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Writes EXPERIMENT.md, .tsv and, where Matplotlib is there, .png.

    Args:
        experiment: its name.
        scale: of the rows.
        rows: of this experiment and scale, at least one.
        folder: made where it does not exist.

    Returns:
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{experiment}.{suffix}" for suffix in ("tsv", "md", "png")]
    write_rows(paths[0], rows)
    has_picture = curves.why_missing() is None
    files.write_bytes(str(paths[1]), markdown(experiment, scale, rows, has_picture=has_picture).encode())
    if not has_picture:
        return paths[:2]
    files.write_bytes(str(paths[2]), picture(experiment, scale, rows))
    return paths


def picture(experiment: str, scale: str, rows: Sequence[Row]) -> bytes:
    """A PNG of the averages."""
    if experiment == "sparsity":
        from sinr3d.bench.experiments import sparsity_report

        return sparsity_report.picture(rows)
    names = _inputs(rows)
    subtitle = (
        f"scale {scale}: {', '.join(names)}" if len(names) <= 6 else f"scale {scale}: {len(names)} inputs"
    )
    on_kodak = experiment in _PICTURES and scale != "smoke"
    if on_kodak and scale != "paper":
        subtitle += "; published values are of full resolution"
    found = averages(rows)
    # What only some of the inputs have would stand at the place of these.
    drawn = [average for average in found if average.num_inputs == most_inputs(found)]
    return plots.draw(TITLES[experiment], subtitle, drawn, rows[0].metric, paper_points=on_kodak)


def render(experiment: str, rows: Sequence[Row]) -> Table:
    """The averages for people."""
    headings, lines = _cells(averages(rows), rows[0].metric)
    table = Table(title=TITLES[experiment], title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < 3 else "right")
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    return table


def markdown(experiment: str, scale: str, rows: Sequence[Row], *, has_picture: bool) -> str:
    """The page."""
    headings, lines = _cells(averages(rows), rows[0].metric)
    parts = [f"# {TITLES[experiment]}", ABOUT[experiment], f"    {command_of(experiment, scale)}"]
    parts.append(_how(rows, scale))
    if has_picture:
        parts.append(f"![{TITLES[experiment]}]({experiment}.png)")
    if experiment == "sparsity":
        from sinr3d.bench.experiments import sparsity_report

        parts.append(sparsity_report.markdown(rows))
    parts += [_markdown_table(headings, lines), _legend(rows)]
    return "\n\n".join(parts) + "\n"


def _inputs(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.place.image for row in rows))


def _how(rows: Sequence[Row], scale: str) -> str:
    names = _inputs(rows)
    steps = sorted({row.steps for row in rows if row.steps})
    text = f"Scale `{scale}`; {len(names)} inputs: {', '.join(names)}."
    if steps:
        text += f" Steps of a fit: {', '.join(f'{count:,}' for count in steps)}."
    seeded, count = seeded_inputs(rows)
    if seeded:
        text += f" ± is the standard deviation over {count} seeds, of {', '.join(seeded)} alone."
    versions = sorted({row.version for row in rows})
    return f"{text} Averages over the inputs, seed 0. sinr3d {', '.join(versions)}; {len(rows)} rows."


def _legend(rows: Sequence[Row]) -> str:
    text = (
        "Every file was decoded again and scored. *loss* is against the network before coding; *saved* and "
        "*gain* are against the same network with every tensor at 16 bits and Brotli, which the paper calls "
        "INRIC"
    )
    codecs = {row.place.codec for row in rows}
    for codec, other in _OTHER_BASELINES.items():
        text += f"; of {other}" if codec in codecs else ""
    text += "."
    if any(row.bytes_beforehand for row in rows):
        text += (
            " *beforehand* are the bytes of the trained prior that both sides must have; they are not in "
            "bytes and bits a pixel."
        )
    return text


def _cells(found: Sequence[Average], metric: str) -> tuple[list[str], list[list[str]]]:
    digits, unit = (2, "PSNR, dB") if metric == "psnr" else (4, "IoU")
    has_prior = any(average.bytes_beforehand for average in found)
    headings = ["network", "codec", "setting", "bytes", "±"]
    headings += ["beforehand"] if has_prior else []
    headings += ["bpp", unit, "±", "loss", "saved", "gain"]
    lines = []
    most = most_inputs(found)
    for a in found:
        some = f" ({a.num_inputs} of {most} inputs)" if a.num_inputs < most else ""
        line = [a.network, plots.label_of(a.codec), f"{a.setting}{some}".strip()]
        line += [f"{a.num_bytes:,.0f}", _percent(a.size_spread)]
        line += [f"{a.bytes_beforehand:,.0f}" if a.bytes_beforehand else ""] if has_prior else []
        line += [_number(a.bpp, 3), _number(a.score, digits), _number(a.score_spread, digits)]
        line += [_number(a.loss, digits), _percent(a.saving), _number(a.gain, digits)]
        lines.append(line)
    return headings, lines


def _markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|".join(["---"] * 3 + ["---:"] * (len(headings) - 3))
    rows = ["| " + " | ".join(headings) + " |", f"|{rule}|"]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)])


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
