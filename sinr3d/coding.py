"""From trained weights to a file: the fewest bytes at a score, or the best score at a size.

paper:           weights -> rule of the paper -> bytes
rd, effort 1:    weights -> steps by sensitivity, searched against the target -> bytes
rd otherwise:    weights -> fine steps -> symbols tuned for loss + slope * bits -> bytes,
                 the slope searched against the target
"""

from collections.abc import Callable
from dataclasses import replace

from sinr3d.codec import paper
from sinr3d.codec.symmetry import fold_phases
from sinr3d.codec.tensors import encode_tensors
from sinr3d.config import EncodeOptions
from sinr3d.errors import TargetError
from sinr3d.inr.spec import SceneSpec
from sinr3d.search import find_slope, find_steps
from sinr3d.trained import Encoded, Point, Trained

__all__ = ["Encoded", "Trained", "code"]


def code(
    trained: Trained, options: EncodeOptions, on_progress: Callable[[int, int, float], None] | None = None
) -> Encoded:
    """Codes trained weights by the profile of the options.

    Args:
        trained: the weights, their judge and their loss.
        options: profile, target, effort, seed.
        on_progress: called while codes are tuned, with steps done, steps in all and the last score.

    Raises:
        TargetError: the target of the options cannot be met.
    """
    if options.profile == "paper":
        plans = {**paper.paper_plans(trained.weights, trained.spec), **trained.fixed}
        network = encode_tensors(trained.weights, trained.spec, plans, options.seed)
        point = Point(trained, options, network, plans, "brotli")
    else:
        folded = trained
        if trained.prior is None:
            folded = replace(trained, weights=fold_phases(trained.weights, trained.spec))
        if options.tune_steps == 0 or trained.interrupted:
            point = find_steps(folded, options)
        else:
            point = find_slope(folded, options, on_progress)
    _check_target(point, trained, options)
    return Encoded(
        point.data,
        trained.metric,
        point.score,
        trained.score,
        trained.spec,
        trained.steps,
        trained.seconds,
        trained.interrupted or point.interrupted,
        point.plans,
    )


def _check_target(point: Point, trained: Trained, options: EncodeOptions) -> None:
    scene = isinstance(trained.spec, SceneSpec)
    target = trained.target(options)
    # An interrupted run keeps what it has; its caller is told so.
    interrupted = trained.interrupted or point.interrupted
    if target is not None and point.score < target and not interrupted:
        remedy = "train longer or a larger model" if scene else "raise --effort or --width"
        raise TargetError(
            f"{trained.metric} {target:g} asked for, {point.score:.4f} reached; {remedy}, or lower the target"
        )
    if options.target_size is not None and len(point.data) > options.target_size:
        remedy = "train a smaller model, or raise the target" if scene else "lower --width"
        raise TargetError(f"{options.target_size} bytes asked for, {len(point.data)} reached; {remedy}")
