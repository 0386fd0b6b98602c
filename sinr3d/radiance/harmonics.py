"""Real spherical harmonics of a direction: the encoding that view-dependent color is made from."""

import torch
from torch import Tensor


def spherical_harmonics(directions: Tensor, levels: int) -> Tensor:
    """The real spherical harmonics of the first levels, degree by degree, order -l to l within each.

    Args:
        directions: (N, 3), unit vectors; any other vector is put into the same polynomials.
        levels: number of degrees, 0 to 4.

    Returns:
        (N, levels^2). Constants and order: FORMAT.md, section on scenes.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    parts = [
        [torch.full_like(x, 0.28209479177387814)],
        [0.4886025119029199 * y, 0.4886025119029199 * z, 0.4886025119029199 * x],
        [
            1.0925484305920792 * x * y,
            1.0925484305920792 * y * z,
            0.9461746957575601 * zz - 0.31539156525251999,
            1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ],
        [
            0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            0.4570457994644658 * y * (5 * zz - 1),
            0.3731763325901154 * z * (5 * zz - 3),
            0.4570457994644658 * x * (5 * zz - 1),
            1.445305721320277 * z * (xx - yy),
            0.5900435899266435 * x * (xx - 3 * yy),
        ],
    ]
    chosen = [value for part in parts[:levels] for value in part]
    return torch.stack(chosen, dim=-1) if chosen else directions[:, :0]
