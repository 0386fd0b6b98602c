"""Rate-distortion curves of everything on the same networks and the same signals, in one run.

    image or mesh -> fit once a width -> weight coders, paper and rd profiles --+
         |                                                                      +--> curves, savings, report
         +---> image or mesh codecs --------------------------------------------+

All that is done is kept in the output folder (`store.py`): a run that was interrupted goes on where it was.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sinr3d.bench import curves, rate_report, sweeps
from sinr3d.bench.points import Curve, Point
from sinr3d.bench.savings import CurveSet, Saving, mean_set, savings
from sinr3d.bench.sources import Source, sources_of
from sinr3d.bench.store import Key, Store, hash_of, source_hash
from sinr3d.bench.sweeps import Sweep, Trial
from sinr3d.config import EFFORT_STEPS, EncodeOptions
from sinr3d.encoder import FittedSignal, fit_network
from sinr3d.errors import MissingFileError, UsageError
from sinr3d.fit.loop import FitProgress
from sinr3d.inr.spec import default_spec

Progress = Callable[[float], None]

WIDTHS = {"image": (64, 128), "occupancy": (64,)}
"""Neurons of a layer, by kind."""
HIDDEN_LAYERS = 3
"""Of the networks of the paper."""
QUICK_STEPS = 200
_PAPER_CODE: tuple[str, ...] = ("codec/*.py", "sparse/*.py")
_RD_CODE = (
    *_PAPER_CODE,
    "fit/*.py",
    "coding.py",
    "config.py",
    "encoder.py",
    "recipes.py",
    "search.py",
    "trained.py",
)
_RIVALS_CODE: tuple[str, ...] = ("baselines/*.py",)
_CODE = (_RD_CODE, _PAPER_CODE, _RIVALS_CODE)
_FIT_UNITS, _RD_UNITS, _SIGNAL_UNITS = 20.0, 10.0, 40.0  # of progress; a weight coder's point is one
_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class RateOptions:
    """What is drawn.

    Attributes:
        scale: of images; 0.5 is the half-resolution protocol.
        widths: of the networks; empty takes `WIDTHS`.
        hidden_layers: of the networks.
        effort: of the default profile, 1 to 9.
        steps: of each fit; None takes the effort's.
        slopes: of our curve's points; empty takes those of `sweeps`.
        quick: 200 steps, one width, two of our rates.
    """

    scale: float = 1.0
    widths: tuple[int, ...] = ()
    hidden_layers: int = HIDDEN_LAYERS
    effort: int = 5
    steps: int | None = None
    slopes: tuple[float, ...] = ()
    quick: bool = False

    def slopes_used(self) -> tuple[float, ...]:
        """The slopes of our curve."""
        return self.slopes or (sweeps.QUICK_SLOPES if self.quick else sweeps.RD_SLOPES)

    def encode_options(self, width: int) -> EncodeOptions:
        """The options of a network's fit and coding; checks them."""
        steps = self.steps or (QUICK_STEPS if self.quick else EFFORT_STEPS.get(self.effort))
        return EncodeOptions(effort=self.effort, width=width, hidden_layers=self.hidden_layers, steps=steps)


@dataclass(frozen=True)
class RateBench:
    """A finished benchmark.

    Attributes:
        sets: the curves of each network of each input.
        means: the same, averaged over the inputs of a kind; one a kind and network.
        savings: ours against each rival, for each of the means.
        settings: how it was run.
        num_computed: fits and points that were not there already.
    """

    sets: list[CurveSet]
    means: list[CurveSet]
    savings: list[Saving]
    settings: dict[str, object]
    num_computed: int


def run(
    paths: list[str], output: str | None, options: RateOptions, on_progress: Progress | None = None
) -> RateBench:
    """Fits, codes and compares.

    Args:
        paths: images and meshes.
        output: folder for `rate.csv`, `rate.png`, `rate.html` and what a later run takes from it; None writes
            nothing.
        options: what is drawn.
        on_progress: called with the fraction done.

    Raises:
        SinrError: an input, an option, or Matplotlib missing, before any work.
    """
    sources = sources_of(paths, options.scale)
    for width in options.widths or WIDTHS["image"]:
        for slope in options.slopes_used():
            replace(options.encode_options(width), slope=slope)  # refused before any work
    if output is not None:
        if (missing := curves.why_missing()) is not None:
            raise MissingFileError(f"the curves cannot be drawn: {missing}")
        if Path(output).exists() and not Path(output).is_dir():
            raise UsageError(f"{output} is a file; name a folder")
    store = Store(None if output is None else Path(output))
    runner = _Runner(store, options, _Units(len(sources), on_progress))
    sets = [found for source in sources for found in runner.curves_of(source)]
    groups = {(s.kind, s.width): [t for t in sets if (t.kind, t.width) == (s.kind, s.width)] for s in sets}
    bench = RateBench(
        sets,
        [mean_set(group) for group in groups.values()],
        [saving for group in groups.values() for saving in savings(group)],
        {"inputs": [source.name for source in sources], **asdict(options)},
        store.num_computed,
    )
    if output is not None:
        rate_report.write(bench.sets, bench.means, bench.savings, bench.settings, Path(output))
    return bench


class _Units:
    """Work done as a fraction, the same share for every input."""

    def __init__(self, num_inputs: int, on_progress: Progress | None) -> None:
        self._num_inputs, self._on_progress = num_inputs, on_progress or (lambda fraction: None)
        self._inputs_done, self._done, self._total = 0, 0.0, 1.0

    def begin(self, total: float) -> None:
        """An input of so many units."""
        self._done, self._total = 0.0, total

    def end(self) -> None:
        """That input is done, whatever of its units was not needed."""
        self._inputs_done, self._done = self._inputs_done + 1, 0.0
        self._report(0.0)

    def add(self, units: float) -> None:
        """Units that are done."""
        self._done += units
        self._report(0.0)

    def show(self, units: float) -> None:
        """Units that are done of something that will be added whole."""
        self._report(units)

    def _report(self, more: float) -> None:
        of_input = min((self._done + more) / self._total, 1.0)
        self._on_progress((self._inputs_done + of_input) / self._num_inputs)


class _Runner:
    """One run over all inputs."""

    def __init__(self, store: Store, options: RateOptions, units: _Units) -> None:
        self._store, self._options, self._units = store, options, units
        # read once: points of this run are made by the code that was loaded
        self._made_by: dict[tuple[str, ...], str] = {code: source_hash(code) for code in _CODE}

    def curves_of(self, source: Source) -> list[CurveSet]:
        """The curves of each network of an input."""
        options = self._options
        widths = options.widths or WIDTHS[source.kind][: 1 if options.quick else None]
        num_rates = len(options.slopes_used())
        others = sum(len(rival.rates) for rival in sweeps.weights.RIVALS) + len(sweeps.PAPER_RATIOS)
        self._units.begin(len(widths) * (_FIT_UNITS + num_rates * _RD_UNITS + others) + _SIGNAL_UNITS)
        networks = [self._network(source, width) for width in widths]
        coded = [self._coders_of(source, network, key) for network, key in networks]
        enough = max(network.result.score for network, _ in networks)
        rivals = [self._draw(sweep, source.key, _RIVALS_CODE, 0) for sweep in source.sweeps(enough)]
        self._units.end()
        return [
            CurveSet(
                source.name,
                source.kind,
                source.metric,
                network.spec.hidden_layers,
                network.spec.width,
                source.num_pixels,
                network.result.score,
                (*own, *rivals),
            )
            for (network, _), own in zip(networks, coded, strict=True)
        ]

    def _network(self, source: Source, width: int) -> tuple[FittedSignal, Key]:
        """A fitted network, and what its points depend on."""
        options = self._options.encode_options(width)
        features = (2, source.pixels.shape[2]) if source.kind == "image" else (3, 1)
        spec = default_spec(*features, width, options.num_hidden_layers, options.activation)
        steps = {"steps": options.steps, "optimizer": options.optimizer, "seed": options.seed}
        key = {**source.key, "spec": asdict(spec), **steps}

        def report(progress: FitProgress) -> None:
            self._units.show(_FIT_UNITS * progress.step / progress.steps)

        def fit():
            return fit_network(source.signal, options, spec, report).result

        network = self._store.network(key, spec, fit)
        self._units.add(_FIT_UNITS)
        score = network.result.score
        _log.info("%s, width %d: fitted, %s %.4f", source.name, width, source.metric, score)
        return network, {"network": hash_of(key), "float_score": round(score, 6)}

    def _coders_of(self, source: Source, network: FittedSignal, key: Key) -> list[Curve]:
        """Ours, the paper's and every rival's curve on the same weights."""
        spec, weights = network.spec, network.result.weights
        judge = sweeps.judge_of(spec, lambda: source.signal)
        quick = self._options.quick
        options = self._options.encode_options(spec.width)
        rd = sweeps.rd_sweep(network, lambda: source.signal, options, self._options.slopes_used())
        ratios = sweeps.QUICK_RATIOS if quick else sweeps.PAPER_RATIOS
        paper = sweeps.paper_sweep(weights, spec, lambda: source.signal.domain, judge, ratios)
        found = [self._draw(rd, {**key, "effort": options.effort}, _RD_CODE, _RD_UNITS)]
        found.append(self._draw(paper, key, _PAPER_CODE, 1))
        found += [self._draw(s, key, _RIVALS_CODE, 1) for s in sweeps.weight_sweeps(weights, judge)]
        return found

    def _draw(self, sweep: Sweep, scope: Key, code: tuple[str, ...], units: float) -> Curve:
        def measure(sweep: Sweep, trial: Trial) -> Point:
            key = {
                **scope,
                "codec": sweep.codec,
                "form": trial.form,
                "setting": trial.setting,
                "code": self._made_by[code],
            }
            before = self._store.num_computed
            point = self._store.point(key, lambda: sweeps.measured(trial))
            self._units.add(units)
            if sweep.codec == "rd" and self._store.num_computed > before:
                size, score = point.num_bytes, point.score
                _log.info("  rd %s: %d bytes, %.4f, %.0f s", trial.setting, size, score, point.seconds)
            return point

        return sweeps.draw(sweep, measure)
