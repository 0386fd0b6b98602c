"""Names of curves beside them: places in a picture where a text covers no curve and no other text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Track = NDArray[np.float64]
"""The visible part of a curve as pixels (N, 2), dense enough to be an obstacle."""

_GAP = 7.0  # pixels between a curve and its name
_NEAR = 12.0  # names keep this distance from other curves, lest they be taken for theirs
_ANCHORS = 24
_FAR_GAPS = (18.0, 30.0, 45.0, 65.0, 90.0, 120.0)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y upward."""

    left: float
    bottom: float
    right: float
    top: float

    def grown(self, margin: float) -> "Box":
        """The box with a margin around it."""
        return Box(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)

    def holds(self, points: Track) -> int:
        """How many of the points (N, 2) lie inside."""
        x, y = points[:, 0], points[:, 1]
        return int(((x > self.left) & (x < self.right) & (y > self.bottom) & (y < self.top)).sum())

    def distance(self, points: Track) -> float:
        """From the nearest of the points (N, 2) to the box."""
        low, high = np.array([self.left, self.bottom]), np.array([self.right, self.top])
        outside = np.maximum(np.maximum(low - points, points - high), 0)
        return float(np.linalg.norm(outside, axis=1).min())

    def within(self, other: "Box") -> bool:
        """Whether this lies wholly inside the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )

    def meets(self, other: "Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


@dataclass(frozen=True)
class Place:
    """Where a name stands; `anchor` is the point of its curve to draw a line to, None where it is near."""

    box: Box
    anchor: tuple[float, float] | None


def place(tracks: Sequence[Track], sizes: Sequence[tuple[float, float]], frame: Box) -> list[Place | None]:
    """Finds a place for each name: beside its curve, the ends first; else farther off, with a line to it.

    Args:
        tracks: the curves; an empty one gets no name.
        sizes: width and height of each name in pixels; tracks beyond them are obstacles without a name.
        frame: the picture's area.

    Returns:
        A place for each name, or None where each would cover something.
    """
    found: list[Place | None] = [None] * len(sizes)
    for gaps in ((_GAP,), _FAR_GAPS):
        for index, size in enumerate(sizes):
            if found[index] is None and len(tracks[index]):
                others = [track for other, track in enumerate(tracks) if other != index]
                taken = [known.box for known in found if known is not None]
                scene = _Scene(tracks[index], np.concatenate([*others, np.empty((0, 2))]), taken, frame)
                found[index] = scene.best(size, gaps)
    return found


@dataclass(frozen=True)
class _Scene:
    """One curve among the others."""

    own: Track
    crowd: Track
    taken: list[Box]
    frame: Box

    def best(self, size: tuple[float, float], gaps: Sequence[float]) -> Place | None:
        chosen: tuple[float, Place | None] = (np.inf, None)
        for cost, candidate in _candidates(self.own, size, gaps):
            if cost < chosen[0] and self._is_free(candidate):
                cost += 3.0 * min(candidate.box.grown(_NEAR).holds(self.crowd), 10)
                cost += 20.0 * self._crossings(candidate)
                chosen = min(chosen, (cost, candidate), key=lambda pair: pair[0])
        return chosen[1]

    def _is_free(self, candidate: Place) -> bool:
        box = candidate.box
        if not box.within(self.frame) or any(box.grown(2).meets(other) for other in self.taken):
            return False
        if box.grown(1).holds(self.own) or box.grown(2).holds(self.crowd):
            return False
        line = _line_to(candidate)
        return not any(other.holds(line) for other in self.taken) and not self._is_misleading(candidate)

    def _is_misleading(self, candidate: Place) -> bool:
        """Whether a name without a line to its curve is about as near to another one."""
        if candidate.anchor is not None or not len(self.crowd):
            return False
        return candidate.box.distance(self.crowd) < 1.5 * candidate.box.distance(self.own)

    def _crossings(self, candidate: Place) -> int:
        """Points of the line that lie on curves."""
        line = _line_to(candidate)
        if not len(line):
            return 0
        distances = np.abs(line[:, None] - np.concatenate([self.crowd, self.own])[None]).max(axis=2)
        return int((distances.min(axis=1) < 2).sum())


def end_of_line(candidate: Place) -> tuple[float, float]:
    """The point of a name's box that is nearest to its anchor."""
    assert candidate.anchor is not None
    box, (x, y) = candidate.box, candidate.anchor
    return min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)


def _line_to(candidate: Place) -> Track:
    """Points every few pixels of the line to a name, but for its beginning on the curve."""
    if candidate.anchor is None:
        return np.empty((0, 2))
    start, end = np.array(candidate.anchor), np.array(end_of_line(candidate))
    count = max(2, int(np.linalg.norm(end - start) / 2))
    return start + (end - start) * np.linspace(0.25, 1, count)[:, None]


def _candidates(track: Track, size: tuple[float, float], gaps: Sequence[float]) -> list[tuple[float, Place]]:
    """Places beside points of a curve, with what speaks against each: being far from the curve's ends."""
    width, height = size
    found = []
    for index in np.unique(np.linspace(0, len(track) - 1, _ANCHORS).round().astype(int)):
        share = index / max(len(track) - 1, 1)
        x, y = (float(value) for value in track[index])
        for gap in gaps:
            for dx in (gap, -gap - width, -width / 2):
                for dy in (-height / 2, gap, -gap - height):
                    if (dx, dy) != (-width / 2, -height / 2):
                        box = Box(x + dx, y + dy, x + dx + width, y + dy + height)
                        cost = 20 * min(share, 1 - share) + 0.3 * gap + 2 * (dy != -height / 2)
                        found.append((cost, Place(box, None if gap == _GAP else (x, y))))
    return found
