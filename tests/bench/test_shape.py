import igl
import numpy as np
import pytest

from sinr3d.bench.shape import demo_shape
from sinr3d.errors import UsageError

GENUS = 45


@pytest.mark.parametrize("resolution", [96, 160])
def test_it_is_one_closed_piece_with_many_holes(resolution):
    mesh = demo_shape(resolution)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0  # faces outward
    assert igl.facet_components(np.asarray(mesh.faces, np.int64))[0] == 1
    assert mesh.euler_number == 2 - 2 * GENUS
    low, high = mesh.bounds
    np.testing.assert_allclose(low, [-0.57, -0.57, -0.99], atol=0.02)
    np.testing.assert_allclose(high, [0.57, 0.57, 0.98], atol=0.03)


def test_it_is_the_same_every_time_and_converges():
    first, second, finer = demo_shape(96), demo_shape(96), demo_shape(192)
    assert np.array_equal(first.vertices, second.vertices)
    assert np.array_equal(first.faces, second.faces)
    assert first.volume == pytest.approx(finer.volume, rel=0.02)


def test_details_are_thin():
    # most of the inside lies nearer to the surface than a twentieth of the height
    mesh = demo_shape(96)
    assert mesh.volume / mesh.area < 0.05


@pytest.mark.parametrize("resolution", [0, 63, 1025])
def test_resolutions_that_lose_it_or_the_memory_are_refused(resolution):
    with pytest.raises(UsageError, match="64 to 1024"):
        demo_shape(resolution)
