"""Commands that read .sinr files: decode, mesh, eval, info."""

from dataclasses import dataclass
from typing import Any, Literal

from tyro.conf import Positional

from sinr3d import console, files
from sinr3d.console import Force, Json, Output, Priors
from sinr3d.errors import TruncatedFileError


@dataclass(frozen=True)
class Decode:
    """Decode a .sinr file: an image to .png ..., a shape or a scene to a mesh (.ply .obj .stl .glb .off).

    Needs no option that encoding chose; a file that builds on a prior needs the prior's file (--priors). Of a
    scene this is its surface with colors, as sinr3d mesh makes it; pictures of it are made by sinr3d render.
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    output: Output
    """The file to write, or - for standard output (PNG or PLY unless --format says otherwise)."""
    resolution: int = 256
    """Shapes and scenes: cells along the longest side."""
    min_part: float = 1e-3
    """Shapes and scenes: pieces below this share of the largest one's volume are dropped; 0 keeps all."""
    format: str | None = None
    """Suffix of the output, where its name has none: .png, .glb, ..."""
    priors: Priors = None
    device: str = "cpu"
    """auto, cpu, cuda or cuda:n."""
    force: Force = False
    """Overwrite the output."""

    def run(self) -> None:
        """Decodes to a file."""
        files.check_output(self.output, force=self.force)
        field = console.open_field(self.input, self.device, self.priors)
        if field.kind == "image":
            import io

            from sinr3d.modalities import image

            suffix = console.output_suffix(self.output, self.format, ".png", image.SUFFIXES)
            with console.fraction_bar("decoding") as on_progress:
                pixels = field.pixels(on_progress)
            buffer = io.BytesIO()
            image.save(pixels, buffer, suffix)
            files.write_bytes(self.output, buffer.getvalue())
            console.say(f"{self.output}: {pixels.shape[1]} x {pixels.shape[0]}, {pixels.shape[2]} channels")
        else:
            how = {"resolution": self.resolution, "min_part": self.min_part}
            console.write_mesh(field, self.output, self.format, **how)


@dataclass(frozen=True)
class Mesh:
    """Extract the surface of a shape or a scene as a closed mesh, by marching cubes.

    A scene's mesh has the colors of its field at the vertices (.glb .ply .obj), and stands where the data set
    has it.
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    output: Output
    """The mesh to write (.ply .obj .stl .glb .off), or - for standard output (PLY)."""
    resolution: int = 256
    """Cells along the longest side."""
    iso: float | None = None
    """Shapes: raw output at the surface, the file's own by default. Scenes: density there."""
    frame: Literal["data", "nerfstudio"] = "data"
    """Scenes: coordinates of the original data, or nerfstudio's, as ns-export has them."""
    min_part: float = 1e-3
    """Pieces below this share of the largest one's volume are dropped; 0 keeps all."""
    format: str | None = None
    """Suffix of the output, where its name has none."""
    priors: Priors = None
    device: str = "cpu"
    """auto, cpu, cuda or cuda:n."""
    force: Force = False
    """Overwrite the output."""

    def run(self) -> None:
        """Meshes to a file."""
        files.check_output(self.output, force=self.force)
        field = console.open_field(self.input, self.device, self.priors)
        how = {"iso": self.iso, "min_part": self.min_part, "scene_frame": self.frame == "nerfstudio"}
        console.write_mesh(field, self.output, self.format, resolution=self.resolution, **how)


@dataclass(frozen=True)
class Eval:
    """Score a .sinr file against the original: PSNR and SSIM of an image or a scene, IoU of a shape.

    IoU: 1,000,000 uniform points in the reference's bounding box padded by 2 %, seed 0, and as many near its
    surface. A scene is scored on the views of a data set folder, in nerf-synthetic's or nerfstudio's layout:
    means over the views, as ns-eval has them, and LPIPS where torchmetrics and AlexNet's weights are there.
    In JSON a null PSNR is infinite, a null SSIM that of an image smaller than its 11 x 11 window.
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    reference: Positional[str]
    """The original image, mesh or volume; the data set's folder of a scene."""
    split: Literal["test", "val", "train"] = "test"
    """Scenes: which views."""
    resize: float = 1.0
    """Scenes: 0.25 scores at a quarter of the width (ns-train's camera-res-scale-factor)."""
    priors: Priors = None
    device: str = "cpu"
    """auto, cpu, cuda or cuda:n."""
    json: Json = False
    """Print the scores as JSON on standard output."""

    def run(self) -> None:
        """Scores and prints."""
        from sinr3d import evaluation

        data = files.read_bytes(self.input)
        field = console.decode_bytes(data, self.input, console.device_named(self.device), self.priors)
        with console.fraction_bar("scoring") as on_progress:
            views = evaluation.ViewOptions(self.split, self.resize, on_progress)
            result = evaluation.evaluate_field(field, len(data), self.reference, views)
        if self.json:
            console.print_json(result)
        else:
            print("  ".join(f"{key} {value}" for key, value in result.items()))


@dataclass(frozen=True)
class Info:
    """Say what a .sinr file holds: the network, the domain, every section with its bytes. Decodes nothing."""

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    verify: bool = False
    """Decode the weights too, to be sure that the file is whole."""
    priors: Priors = None
    json: Json = False
    """Print as JSON on standard output."""

    def run(self) -> None:
        """Reads the header and prints it."""
        from sinr3d.codec.info import describe

        data = files.read_bytes(self.input)
        with files.naming(self.input):
            facts = describe(data)
            _say_layers(facts, refuse=self.verify)
        if self.verify:
            console.decode_bytes(data, self.input, "cpu", self.priors)
            facts["verified"] = True
        if self.json:
            console.print_json(facts)
            return
        for key, value in facts.items():
            if isinstance(value, dict):
                print(f"{key}:")
                for name, inner in value.items():
                    print(f"  {name:<16} {_one_line(inner)}")
            else:
                print(f"{key:<18} {value}")


def _say_layers(facts: dict[str, Any], *, refuse: bool) -> None:
    """Says, or refuses, that a progressive file is cut short."""
    layers = facts.get("layers", {"missing_bytes": 0})
    if layers["missing_bytes"] == 0:
        return
    text = (
        f"{layers['present']} of {layers['of']} layers are there, {layers['missing_bytes']} bytes are missing"
    )
    if refuse:
        raise TruncatedFileError(f"the file is cut short: {text}")
    console.say(f"{text}: coarser than it was meant to be")


def _one_line(value: Any) -> str:
    """A fact of a file; one that has parts as "name value, name value"."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_one_line(inner)}" for name, inner in value.items())
