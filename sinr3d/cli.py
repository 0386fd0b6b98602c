"""The command line: parsing and printing. Data goes to standard output, all else to standard error."""

import dataclasses
import inspect
import logging
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import tyro
from tyro import conf
from tyro.conf import Positional, arg

import sinr3d
from sinr3d import console, files
from sinr3d.cli_bench import Bench, Compare, Demo
from sinr3d.cli_files import Decode, Eval, Info, Mesh
from sinr3d.cli_scenes import Export, Render, Restore
from sinr3d.console import Force, Json, Output
from sinr3d.errors import SinrError, UsageError

if TYPE_CHECKING:
    from sinr3d.config import EncodeOptions


class Command(Protocol):
    """A verb of the command line."""

    def run(self) -> int | None:
        """Does it; returns the exit code, 0 where None."""
        ...


@dataclass(frozen=True)
class Encode:
    """Encode an image, a mesh or a boolean volume into one small .sinr file.

    Images: .png .jpg .webp .tif .bmp .ppm; shapes: .obj .ply .stl .glb .off, and volumes in .npy .npz.
    Ctrl-C ends the fit early and writes the best network so far.

    Examples:
      sinr3d encode lucy.obj -o lucy.sinr
      sinr3d encode photo.png -o photo.sinr --target-psnr 30
      sinr3d encode bunny.ply -o bunny.sinr --target-size 6000 --effort 7
      sinr3d encode photo.png -o inric.sinr --profile inric --bits 7
    """

    input: Positional[str]
    """The file to encode, or - for standard input."""
    output: Output
    """The .sinr file to write, or - for standard output."""
    profile: Literal["rd", "paper", "coin", "inric", "coinpp", "shacira"] = "rd"
    """rd: the smallest file at the quality asked. paper: SINR as published (OMP, 16 bits, Brotli).
    The rest are rivals, to compare with, fitted by Adam. coin: half-precision weights. inric: 8-bit weights,
    rounded with care and retrained. coinpp: modulations of a base network, which --prior holds. shacira: a
    grid of quantized latents."""
    quality: Annotated[float, arg(aliases=["-q"])] = 50.0
    """0 to 100: sets the number of weights: those of three hidden layers of 16 neurons at 0, of 64 at 50, of
    256 at 100."""
    target_psnr: float | None = None
    """Smallest file with at least this PSNR in dB (images)."""
    target_iou: float | None = None
    """Smallest file with at least this IoU (shapes)."""
    target_size: int | None = None
    """Best file of at most this many bytes."""
    slope: float | None = None
    """How dear a byte is where no target says so; half as much gives a larger, better file of the network. By
    default 0.1 for an image, 0.3 for a shape. A smaller network (-q) loses less than a larger slope."""
    progressive: bool = False
    """Order the file so that its first part decodes to a coarser field: from about 57 % of its bytes on."""
    effort: Annotated[int, arg(aliases=["-e"])] = 5
    """1 to 9: how long the network is fitted and its codes are tuned; 1 is without tuning."""
    seed: int = 0
    """Of the fit and of the dictionary; the same seed gives the same file on the same machine."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:n."""
    kind: Literal["image", "occupancy"] | None = None
    """What the input is, where its suffix does not say."""
    width: int | None = None
    """Neurons in a hidden layer, instead of the quality's."""
    hidden_layers: int | None = None
    """Square matrices between the first and the last layer; by default 5 for sines in rd, 3 otherwise."""
    activation: Literal["sine", "gauss", "wire", "relu"] = "sine"
    """Of the hidden layers; relu comes with a frequency encoding."""
    steps: int | None = None
    """Optimizer steps, instead of the effort's."""
    optimizer: Literal["muon", "adam"] = "muon"
    """muon: Muon for the hidden matrices, Adam for the rest."""
    max_seconds: float | None = None
    """Time budget of the fit; the file then depends on the machine's speed."""
    half: bool = False
    """Fit with bfloat16 matrix products (CUDA)."""
    compile: bool = False
    """Fit with torch.compile (CUDA; pays for itself in long fits)."""
    prior: str | None = None
    """The .prior file that coinpp builds on, and that inric may: decoding needs it too."""
    bits: int | None = None
    """Depth of the quantizer of inric, coinpp and shacira, 2 to 16, instead of the published one."""
    config: str | None = None
    """YAML file of settings by these names; options given here override it. Examples: configs/."""
    force: Force = False
    """Overwrite the output."""
    json: Json = False
    """Print the result as JSON on standard output."""

    def run(self) -> int:
        """Encodes and says how it went."""
        if self.json and self.output == "-":
            raise UsageError("--json and -o - both want standard output")
        if self.output != "-" and Path(self.output).suffix.lower() != ".sinr":
            raise UsageError(f"{self.output}: the output of encode ends in .sinr")
        files.check_output(self.output, force=self.force)
        from sinr3d.encoder import encode_signal
        from sinr3d.inr.spec import InrSpec, ModulatedSpec

        options = self.options()
        start = time.monotonic()
        signal = _load_signal(self.input, options.seed, self.kind)
        with console.fit_bar(signal.metric) as on_progress:
            encoded = encode_signal(signal, options, on_progress)
        files.write_bytes(self.output, encoded.data)
        spec, score = encoded.spec, console.score_text
        num_weights, spec = spec.num_weights, spec.base if isinstance(spec, ModulatedSpec) else spec
        assert isinstance(spec, InrSpec)
        result = {
            "output": self.output,
            "kind": signal.kind,
            "profile": options.profile,
            "bytes": len(encoded.data),
            encoded.metric: round(encoded.score, 6),
            f"{encoded.metric}_float": round(encoded.float_score, 6),
            "width": spec.width,
            "hidden_layers": spec.hidden_layers,
            "activation": spec.activation,
            "weights": num_weights,
            "steps": encoded.steps,
            "seconds": round(time.monotonic() - start, 2),
            "interrupted": encoded.interrupted,
        }
        if signal.kind == "image":
            result["bpp"] = round(8 * len(encoded.data) / (signal.domain.width * signal.domain.height), 5)
        if self.json:
            console.print_json(result)
        console.say(
            f"{self.output}: {len(encoded.data):,} bytes, {score(encoded.metric, encoded.score)} "
            f"(before coding {score(encoded.metric, encoded.float_score)}), {spec.activation} "
            f"{spec.width} x {spec.hidden_layers}, {num_weights:,} weights, {result['seconds']:.0f} s"
        )
        if encoded.interrupted:
            steps = encoded.steps
            console.say(f"interrupted after {steps} steps: the file holds the best network until then")
        return 130 if encoded.interrupted else 0

    def options(self) -> "EncodeOptions":
        """The settings of the configuration file, if any, under those given on the command line."""
        from sinr3d.config import EncodeOptions, load_options

        base = load_options(self.config) if self.config is not None else EncodeOptions()
        names = {field.name: field.default for field in dataclasses.fields(EncodeOptions)}
        given = {name: getattr(self, name) for name in names if getattr(self, name) != names[name]}
        options = dataclasses.replace(base, **given)
        return dataclasses.replace(options, device=console.device_named(options.device))


COMMANDS: dict[str, type[Command]] = {
    "encode": Encode,
    "decode": Decode,
    "eval": Eval,
    "info": Info,
    "mesh": Mesh,
    "export": Export,
    "restore": Restore,
    "render": Render,
    "compare": Compare,
    "demo": Demo,
    "bench": Bench,
}


_PARSING = (conf.FlagCreatePairsOff, conf.DisallowNone, conf.PositionalMetavarFromFieldName)


def main(argv: list[str] | None = None) -> int:
    """Entry point: runs one verb; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    _start_log(debug)
    try:
        code = _parse([argument for argument in arguments if argument != "--debug"]).run() or 0
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # --help, --version, or a usage error that tyro has explained
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        console.say("sinr3d: interrupted; nothing was written")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: no message, and none from Python at its exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, SinrError):
            console.say(f"sinr3d: {error}")
            return error.exit_code
        console.say(f"sinr3d: {type(error).__name__}: {error}; give --debug for the traceback")
        return 1


def _start_log(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sinr3d")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)


def _parse(arguments: list[str]) -> Command:
    if arguments == ["--version"]:
        print(f"sinr3d {sinr3d.__version__}")
        sys.exit(0)
    # Only the verb's own parser is built: it is faster, and its --help is one page.
    if arguments and arguments[0] in COMMANDS:
        name, verb = arguments[0], COMMANDS[arguments[0]]
        about = inspect.getdoc(verb)
        return tyro.cli(verb, args=arguments[1:], prog=f"sinr3d {name}", description=about, config=_PARSING)
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS, args=arguments or ["--help"], prog="sinr3d", description=_ABOUT, config=_PARSING
    )


_ABOUT = """Neural fields small enough to send: a scene, shape or image in one small .sinr file.

sinr3d VERB --help describes a verb, sinr3d --version prints the version, and --debug after any verb shows the
traceback of an error."""


def _load_signal(path: str, seed: int, kind: str | None) -> Any:
    from sinr3d.encoder import make_signal

    if path != "-":
        return make_signal(path, seed, kind)
    import io

    from sinr3d.modalities import sniff

    data = files.read_bytes("-")
    stream = io.BytesIO(data)
    stream.name = "standard input"  # for messages
    return make_signal(stream, seed, kind, sniff.suffix_of(data, kind))


if __name__ == "__main__":
    sys.exit(main())
