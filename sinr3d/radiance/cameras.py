"""Pinhole cameras: pixels to rays, views to an orbit, and the paths that nerfstudio's viewer saves.

A camera's pose (3, 4) takes its own coordinates to the scene's: x right, y up, looking along -z. The pixel in
row i and column j is seen through its center, (j + 0.5, i + 0.5) from the upper left corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec.scene import DefaultCameras
from sinr3d.errors import MalformedInputError, UnsupportedFeatureError, UsageError
from sinr3d.radiance._json import MAX_SIDE, array, number, positive, read_json, records, side

Vector = Sequence[float] | Tensor
"""Three numbers: a position or direction in the scene frame."""

_NEWTON_STEPS = 10
_LEAST_DETERMINANT = 1e-3  # nearer to a fold of the distortion a Newton step would leap away


@dataclass(frozen=True, eq=False)
class Camera:
    """A perspective camera.

    Attributes:
        width: pixels.
        height: pixels.
        fx: focal length along a row, pixels.
        fy: the same along a column.
        cx: principal point, pixels from the left edge.
        cy: the same from the upper edge.
        pose: (3, 4) float32, camera to scene; its rotation is orthonormal.
        distortion: () or OpenCV's (k1, k2, k3, k4, p1, p2) in nerfstudio's order, where with r = x^2 + y^2
            x' = x (1 + k1 r + k2 r^2 + k3 r^3 + k4 r^4) + 2 p1 x y + p2 (r + 2 x^2), and y' alike.

    Raises:
        UsageError: a size below 1, a focal length that is not positive, another shape of pose or distortion.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    pose: Tensor
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise UsageError(f"got a picture of {self.width} x {self.height}, wanted 1 to {MAX_SIDE} pixels")
        if not (0 < self.fx < math.inf and 0 < self.fy < math.inf):
            raise UsageError(f"got focal lengths {self.fx} and {self.fy}, wanted positive numbers of pixels")
        if tuple(self.pose.shape) != (3, 4) or len(self.distortion) not in (0, 6):
            raise UsageError(
                f"got a pose {tuple(self.pose.shape)} and {len(self.distortion)} distortion coefficients, "
                "wanted (3, 4) and 0 or 6"
            )

    @property
    def position(self) -> Tensor:
        """(3,) in the scene frame."""
        return self.pose[:, 3]

    @property
    def forward(self) -> Tensor:
        """(3,) unit vector along the optical axis, in the scene frame."""
        return -self.pose[:, 2]

    def resized(self, factor: float) -> "Camera":
        """The same view in a picture `factor` times as large; sizes are floored, as in nerfstudio.

        Args:
            factor: above 0; 0.25 makes a quarter of the width and of the height.

        Raises:
            UsageError: no pixel would be left.
        """
        # float32, because nerfstudio's sizes and intrinsics are
        factor32 = np.float32(factor)
        if not 0 < factor32 < np.inf or min(self.width, self.height) * factor32 < 1:
            raise UsageError(f"a picture of {self.width} x {self.height} cannot be resized by {factor}")
        return replace(
            self,
            width=int(np.float32(self.width) * factor32),
            height=int(np.float32(self.height) * factor32),
            fx=float(np.float32(self.fx) * factor32),
            fy=float(np.float32(self.fy) * factor32),
            cx=float(np.float32(self.cx) * factor32),
            cy=float(np.float32(self.cy) * factor32),
        )

    def at(self, pose: Tensor) -> "Camera":
        """The same camera elsewhere; the lens's distortion is left behind."""
        return replace(self, pose=pose, distortion=())

    def rays(self) -> tuple[Tensor, Tensor]:
        """The rays of all pixels, row by row from the top.

        Returns:
            origins (H * W, 3) and unit directions (H * W, 3), float32, on the pose's device, scene frame.
        """
        device, pose = self.pose.device, self.pose.to(torch.float32)
        row = torch.arange(self.height, dtype=torch.float32, device=device) + 0.5
        column = torch.arange(self.width, dtype=torch.float32, device=device) + 0.5
        y, x = torch.meshgrid((row - self.cy) / self.fy, (column - self.cx) / self.fx, indexing="ij")
        if any(self.distortion):
            x, y = _undistort(x, y, self.distortion)
        inside = torch.stack([x, -y, -torch.ones_like(x)], dim=-1).reshape(-1, 3)
        directions = torch.nn.functional.normalize(inside @ pose[:, :3].T, dim=-1)
        return pose[:, 3].expand_as(directions), directions


@dataclass(frozen=True)
class CameraPath:
    """A film's cameras, one a frame, and how many of them pass in a second."""

    cameras: tuple[Camera, ...]
    fps: float


def pinhole(width: int, height: int, fov_x_rad: float, pose: Tensor) -> Camera:
    """A camera with square pixels and its principal point in the middle.

    Args:
        width: pixels.
        height: pixels.
        fov_x_rad: angle between the left and the right edge, above 0 and below pi: fx = width / (2 tan(a/2)).
        pose: (3, 4) camera to scene.

    Raises:
        UsageError: an argument is out of range.
    """
    if not 0 < fov_x_rad < math.pi:
        raise UsageError(f"got a field of view of {fov_x_rad} radians, wanted 0 to pi")
    focal = 0.5 * width / math.tan(0.5 * fov_x_rad)
    return Camera(width, height, focal, focal, width / 2, height / 2, pose)


def look_at(position: Vector, target: Vector, up: Vector = (0.0, 0.0, 1.0)) -> Tensor:
    """The pose (3, 4), float32, at a position, looking at a target, upright.

    Args:
        position: (3,).
        target: (3,), elsewhere.
        up: (3,). Where one looks along it, the picture is turned in some way.

    Raises:
        UsageError: the target is the position.
    """
    at, to, above = (torch.as_tensor(value, dtype=torch.float64) for value in (position, target, up))
    backward = at - to
    if backward.norm() < 1e-12:
        raise UsageError(f"a camera at {at.tolist()} cannot look at itself")
    backward = backward / backward.norm()
    right = torch.linalg.cross(above, backward)
    if right.norm() < 1e-6 * above.norm():
        right = torch.linalg.cross(torch.eye(3, dtype=torch.float64)[1], backward)
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(backward, right), backward, at], dim=1).float()


def orbit(
    like: Camera,
    center: Vector,
    radius: float,
    elevation_deg: float,
    count: int,
    *,
    start_deg: float = 0.0,
) -> list[Camera]:
    """Cameras evenly on a full circle around a point, z up, each looking at it.

    Args:
        like: gives size and intrinsics; its lens is taken to be free of distortion.
        center: (3,).
        radius: distance to the center, scene units, above 0.
        elevation_deg: above the center's horizon, -90 to 90.
        count: number of cameras, counterclockwise seen from above.
        start_deg: where the first one stands, counterclockwise from +x.

    Raises:
        UsageError: an argument is out of range.
    """
    if count < 1 or not radius > 0 or not -90 <= elevation_deg <= 90:
        raise UsageError(
            f"got an orbit of {count} cameras at {radius} and {elevation_deg} degrees, wanted at least one, "
            "a positive radius and -90 to 90 degrees"
        )
    middle = torch.as_tensor(center, dtype=torch.float64)
    # just off the pole, where up would be lost
    elevation = math.radians(max(-89.9, min(89.9, elevation_deg)))
    cameras = []
    for i in range(count):
        angle = math.radians(start_deg) + 2 * math.pi * i / count
        level = math.cos(elevation)
        away = [level * math.cos(angle), level * math.sin(angle), math.sin(elevation)]
        position = middle + radius * torch.tensor(away, dtype=torch.float64)
        cameras.append(like.at(look_at(position, middle)))
    return cameras


def orbit_through(views: Sequence[Camera], count: int) -> list[Camera]:
    """An orbit that shows the scene as given views do: around what they look at, as far and as high as they.

    The center is the point nearest to all optical axes in the sense of least squares; distance and elevation
    are the medians. The first camera stands on the side of the first view.

    Args:
        views: at least one; the first gives size and intrinsics.
        count: number of cameras.

    Raises:
        UsageError: no view, or no camera asked for.
    """
    if not views:
        raise UsageError("an orbit needs a view to start from")
    center = _focus(views)
    offsets = torch.stack([view.position.double() for view in views]) - center
    distances = offsets.norm(dim=1).clamp_min(1e-9)
    elevation = torch.rad2deg(torch.asin((offsets[:, 2] / distances).clamp(-1, 1))).median()
    start = math.degrees(math.atan2(float(offsets[0, 1]), float(offsets[0, 0])))
    return orbit(views[0], center, float(distances.median()), float(elevation), count, start_deg=start)


def default_cameras(cameras: DefaultCameras) -> list[Camera]:
    """The cameras that a .sinr file carries."""
    poses = torch.tensor(cameras.poses, dtype=torch.float32).reshape(-1, 3, 4)
    return [Camera(cameras.width, cameras.height, *cameras.focal, *cameras.center, pose) for pose in poses]


def read_camera_path(path: str | Path) -> CameraPath:
    """Reads a camera path as nerfstudio's viewer saves it for `ns-render camera-path`.

    The keys used are camera_path (a list of camera_to_world, 16 numbers row by row, and fov, the vertical
    angle in degrees), render_width, render_height, and seconds (the film's length) or fps.

    Args:
        path: the .json file.

    Returns:
        The cameras in the scene frame.

    Raises:
        MissingFileError: the file cannot be read.
        MalformedInputError: it is not such a file.
        UnsupportedFeatureError: its cameras are not perspective ones, or it crops the scene.
    """
    path = Path(path)
    table = read_json(path)
    kind = table.get("camera_type") or "perspective"
    if str(kind).lower() != "perspective":
        raise UnsupportedFeatureError(
            f"{path}: cameras of type {kind} are not supported; save the path with perspective ones"
        )
    if table.get("crop") is not None:
        raise UnsupportedFeatureError(
            f"{path}: this path crops the scene, which is not supported; save it with the crop switched off"
        )
    width, height = (side(table, key, str(path)) for key in ("render_width", "render_height"))
    cameras = []
    for i, frame in enumerate(records(table, "camera_path", str(path))):
        where = f"{path}: camera {i}"
        pose = array(frame, "camera_to_world", where, 16).reshape(4, 4)[:3]
        fov = number(frame, "fov", where)
        if not 0 < fov < 180:
            raise MalformedInputError(f"{where}: fov is {fov:g} degrees, wanted 0 to 180")
        focal = 0.5 * height / math.tan(math.radians(fov) / 2)
        pose32 = torch.from_numpy(pose.astype(np.float32))
        cameras.append(Camera(width, height, focal, focal, width / 2, height / 2, pose32))
    fps = len(cameras) / positive(table, "seconds", str(path)) if "seconds" in table else None
    return CameraPath(tuple(cameras), fps or positive(table, "fps", str(path)))


def _undistort(x: Tensor, y: Tensor, coefficients: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Finds the image coordinates that the lens moves to (x, y), by Newton's method from there."""
    k1, k2, k3, k4, p1, p2 = coefficients
    u, v = x.clone(), y.clone()
    for _ in range(_NEWTON_STEPS):
        r = u * u + v * v
        radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
        slope = 2 * (k1 + r * (2 * k2 + r * (3 * k3 + r * 4 * k4)))  # of radial, over u or v, by that
        off_x = u * radial + 2 * p1 * u * v + p2 * (r + 2 * u * u) - x
        off_y = v * radial + 2 * p2 * u * v + p1 * (r + 2 * v * v) - y
        xx = radial + slope * u * u + 2 * p1 * v + 6 * p2 * u
        yy = radial + slope * v * v + 2 * p2 * u + 6 * p1 * v
        xy = slope * u * v + 2 * (p1 * u + p2 * v)  # the Jacobian is symmetric
        determinant = xx * yy - xy * xy
        safe = determinant.abs() > _LEAST_DETERMINANT
        scale = torch.where(safe, 1 / torch.where(safe, determinant, 1), 0)
        u, v = u - scale * (yy * off_x - xy * off_y), v - scale * (xx * off_y - xy * off_x)
    return u, v


def _focus(views: Sequence[Camera]) -> Tensor:
    """The point (3,) nearest to all optical axes o + t d: the sum of (I - d d^T) (p - o) is 0."""
    origins = torch.stack([view.position.double() for view in views])
    forward = torch.nn.functional.normalize(torch.stack([view.forward.double() for view in views]), dim=1)
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    # parallel axes leave a direction open: there a unit in front of the cameras is as good as any
    hold = 1e-6 * len(views)
    prior = (origins + forward).mean(dim=0)
    matrix = across.sum(dim=0) + hold * torch.eye(3, dtype=torch.float64)
    return torch.linalg.solve(matrix, (across @ origins[:, :, None]).sum(dim=0)[:, 0] + hold * prior)
