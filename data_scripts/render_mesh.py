"""Any mesh to a nerf-synthetic data set: views from all around, RGBA, exact cameras, nothing to download.

    python data_scripts/render_mesh.py bunny.ply -o data/bunny --up y
    python data_scripts/render_mesh.py --demo -o data/demo --size 200 --train 80
    ns-train sinr-nerf-tiny --data data/demo blender-data

Meshes are whatever trimesh reads (.obj .ply .stl .glb .off ...), open ones too. Colors are the mesh's own,
from its vertices, faces or texture; a mesh without any gets waves of color by position. The same arguments
give the same data set.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from sinr3d.bench.datasets import run_script, say
from sinr3d.errors import MeshError, MissingFileError, UsageError

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class RenderMesh:
    """Render a mesh from all around into a data set in nerf-synthetic's layout."""

    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")]
    """The data set's folder."""
    mesh: Positional[str | None] = None
    """The mesh's file."""
    demo: bool = False
    """Instead of a mesh: the shape of `sinr3d demo`, a knotted rope on a pedestal."""
    size: int = 100
    """Width and height of the pictures, pixels."""
    train: int = 40
    """Number of views to train on."""
    val: int = 4
    """Number of views to validate on."""
    test: int = 8
    """Number of views to score on."""
    upper: bool = False
    """Cameras on the upper half of the sphere only."""
    up: Literal["x", "y", "z"] = "z"
    """The mesh's up axis; it becomes z."""
    keep_scale: bool = False
    """Leave the mesh's size and place as they are, instead of fitting it into [-1, 1]^3."""
    supersampling: int = 4
    """Samples along a pixel's side."""
    force: Annotated[bool, arg(aliases=["-f"])] = False
    """Write into a folder that is not empty."""


def main(args: RenderMesh) -> None:
    """Renders the data set."""
    if args.demo == (args.mesh is not None):
        raise UsageError("give a mesh or --demo")
    from sinr3d.bench.render_dataset import render_dataset

    surface = render_dataset(
        _load(args.mesh),
        args.output,
        size=args.size,
        train=args.train,
        val=args.val,
        test=args.test,
        upper=args.upper,
        up=args.up,
        keep_scale=args.keep_scale,
        supersampling=args.supersampling,
        force=args.force,
        on_view=_show if sys.stderr.isatty() else None,
    )
    say(
        f"{args.output}: {args.train} + {args.val} + {args.test} views of {len(surface.faces):,} faces, "
        f"{args.size} x {args.size}, within {surface.radius:.3g} of the center"
    )


def _load(path: str | None) -> "trimesh.Trimesh":
    import trimesh

    if path is None:
        from sinr3d.bench.shape import demo_shape

        return demo_shape()
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        mesh = trimesh.load(path, force="mesh")
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise MeshError(f"{path}: not a readable mesh: {error}") from error
    if not isinstance(mesh, trimesh.Trimesh):
        raise MeshError(f"{path}: it holds no mesh")
    return mesh


def _show(done: int, total: int) -> None:
    print(f"\r{done} of {total} views", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run_script(main, RenderMesh))
