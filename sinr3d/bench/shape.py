"""The shape of the demonstration: a trefoil knot of rope on a pedestal carved through by a gyroid.

Everything is an implicit function, negative inside, so the shape needs no data and no licence. It is meant to
be hard in the ways that real shapes are: thin struts, grooves, sharp and smooth joins, flats, many holes.
"""

import igl
import mcubes
import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.errors import UsageError

Field = NDArray[np.float32]
"""An implicit function's values, negative inside, roughly distances."""

_HALF_WIDTH, _BOTTOM, _TOP = 0.62, -1.02, 1.02  # of the box, z up
_KNOT_CENTER = 0.405  # height
_KNOT_RADIUS, _KNOT_WINDING, _TUBE_RADIUS = 0.36, 0.125, 0.078
_STRANDS, _TWISTS, _GROOVE = 6, 12.0, 0.024  # of the rope: strands, turns of its pattern, depth of a groove


def demo_shape(resolution: int = 160) -> trimesh.Trimesh:
    """Makes the demonstration shape.

    Args:
        resolution: number of samples along the height, 64 to 1024; 160 keeps every strut.

    Returns:
        A watertight mesh of one piece, faces outward, about [-0.6, 0.6]^2 x [-1, 1], z up; the same for the
        same resolution and the same releases of numpy and PyMCubes.

    Raises:
        UsageError: resolution is out of range.
    """
    if not 64 <= resolution <= 1024:
        raise UsageError(f"got a resolution of {resolution}, wanted 64 to 1024")
    step = (_TOP - _BOTTOM) / (resolution - 1)
    count = int(np.ceil(_HALF_WIDTH / step))
    side = (np.arange(-count, count + 1) * step).astype(np.float32)
    height = (_BOTTOM + np.arange(resolution) * step).astype(np.float32)
    field = _demo_field(side[:, None, None], side[None, :, None], height[None, None, :])
    vertices, faces = mcubes.marching_cubes(-field, 0.0)  # faces outward where inside is positive
    vertices = vertices * step + np.array([side[0], side[0], height[0]])
    return _largest_part(vertices, faces.astype(np.int64))


def _largest_part(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> trimesh.Trimesh:
    """Leaves out bubbles of a sample or two, which a groove can leave under the surface."""
    part = igl.facet_components(faces)[1]
    mesh = trimesh.Trimesh(vertices, faces[part == np.argmax(np.bincount(part))], process=False)
    mesh.remove_unreferenced_vertices()
    return mesh


def _demo_field(x: Field, y: Field, z: Field) -> Field:
    """The whole shape at broadcast coordinates."""
    knot = _knot(x, y, z - np.float32(_KNOT_CENTER))
    return _smooth_union(knot, _pedestal(x, y, z), np.float32(0.05))


def _knot(x: Field, y: Field, z: Field) -> Field:
    """A trefoil of rope: a (2, 3) torus knot whose torus lies around the y axis, so that it faces the viewer.

    In the half plane at angle phi around that axis the knot crosses in two points, at angles 3 phi / 2 and
    3 phi / 2 + pi of a circle. Over the knot's own parameter, of period 4 pi, the rope's pattern closes, as
    `_TWISTS` is a multiple of 1 / 4.
    """
    phi = np.arctan2(-x, z)  # a lobe at the top, two at the bottom
    radius = np.hypot(x, z) - np.float32(_KNOT_RADIUS)
    nearest = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), np.inf, np.float32)
    for strand in range(2):
        turn = phi + np.float32(2 * np.pi * strand)
        across = radius - np.float32(_KNOT_WINDING) * np.cos(1.5 * turn)
        along = y - np.float32(_KNOT_WINDING) * np.sin(1.5 * turn)
        around = np.arctan2(along, across)
        bulge = np.cos(np.float32(_STRANDS / 2) * around + np.float32(_TWISTS) * turn)
        rope = np.sqrt(bulge**2 + np.float32(0.02))  # |bulge|, with a groove that samples can follow
        tube = np.hypot(across, along) - np.float32(_TUBE_RADIUS) - np.float32(_GROOVE) * rope
        np.minimum(nearest, np.float32(0.8) * tube, out=nearest)
    return nearest


def _pedestal(x: Field, y: Field, z: Field) -> Field:
    """A drum whose wall is a gyroid net, between a scalloped foot and a plate."""
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    wall = _ring(radius, z, 0.36, 0.085, -0.86, -0.20)
    drum = _smooth_intersection(wall, _gyroid(x, y, z, period=0.27), np.float32(0.03))
    scallops = radius - np.float32(0.022) * np.abs(np.cos(12 * angle))
    foot = np.minimum(_disc(scallops, z, 0.55, -0.99, -0.90), _disc(radius, z, 0.49, -0.92, -0.83))
    flutes = radius + np.float32(0.012) * np.abs(np.cos(24 * angle))
    plate = np.minimum(_disc(radius, z, 0.47, -0.25, -0.19), _disc(flutes, z, 0.40, -0.21, -0.05))
    return _smooth_union(drum, np.minimum(foot, plate), np.float32(0.03))


def _ring(radius: Field, z: Field, middle: float, half_width: float, bottom: float, top: float) -> Field:
    wall = np.abs(radius - np.float32(middle)) - np.float32(half_width)
    return _smooth_intersection(wall, _between(z, bottom, top), np.float32(0.02))


def _gyroid(x: Field, y: Field, z: Field, period: float) -> Field:
    """One side of a gyroid, sin x cos y + sin y cos z + sin z cos x < c: a single connected net of struts."""
    k = np.float32(2 * np.pi / period)
    sines = np.sin(k * x) * np.cos(k * y) + np.sin(k * y) * np.cos(k * z) + np.sin(k * z) * np.cos(k * x)
    # dividing by the slope makes it about a distance
    return (sines + np.float32(0.25)) / (k * np.float32(1.2))


def _disc(radius: Field, z: Field, size: float, bottom: float, top: float) -> Field:
    return _smooth_intersection(radius - np.float32(size), _between(z, bottom, top), np.float32(0.03))


def _between(z: Field, bottom: float, top: float) -> Field:
    return np.maximum(np.float32(bottom) - z, z - np.float32(top))


def _smooth_union(a: Field, b: Field, width: np.float32) -> Field:
    """The union with the seam filled over `width`."""
    blend = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - blend * blend * width / 4


def _smooth_intersection(a: Field, b: Field, width: np.float32) -> Field:
    """The intersection with its edge rounded over `width`."""
    return -_smooth_union(-a, -b, width)
