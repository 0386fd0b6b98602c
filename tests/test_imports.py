"""The import rule: which part of the package may know which.

inr, sparse, optim, metrics and recipes know nothing of ours; fit knows inr and optim; codec these and sparse;
modalities know those and metrics; radiance knows inr, codec, metrics and modalities; baselines and nerf may
know all these; nobody below knows the top: API, command line, bench, viewer.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sinr3d"
API = {"field", "encoder", "coding", "evaluation", "files", "config", "sinr3d"}
LIBRARY = {"inr", "sparse", "optim", "metrics", "fit", "codec", "modalities", "radiance"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "inr": set(),
    "sparse": set(),
    "optim": set(),
    "metrics": set(),
    "fit": {"inr", "optim"},
    "codec": {"sparse", "inr", "optim"},
    "modalities": {"inr", "sparse", "fit", "codec", "metrics"},
    "radiance": {"inr", "codec", "metrics", "modalities"},
    "baselines": {*LIBRARY, "config", "trained", "sinr3d"},
    "nerf": {*LIBRARY, *API},
    "files": set(),
    "recipes": set(),
    "config": {"inr"},
    "field": {*LIBRARY, "files"},
    "trained": {*LIBRARY, "config", "sinr3d"},
    "search": {*LIBRARY, "config", "trained"},
    "coding": {*LIBRARY, "config", "trained", "search"},
    "encoder": {*LIBRARY, "files", "config", "coding", "recipes", "sinr3d", "baselines"},
    "evaluation": {*LIBRARY, "files", "field"},
    "sinr3d": {"config", "encoder", "field"},  # sinr3d/__init__.py, the public names
    "bench": {*LIBRARY, *API, "recipes", "baselines", "nerf"},
    "viewer": {*LIBRARY, *API, "nerf"},
    "console": {*LIBRARY, *API},
    "cli_scenes": {*LIBRARY, *API, "console", "nerf"},
    "cli_files": {*LIBRARY, *API, "console"},
    "cli_bench": {*LIBRARY, *API, "console", "bench"},
    "cli": {"console", "cli_files", "cli_scenes", "cli_bench", *LIBRARY, *API, "bench", "viewer", "nerf"},
}
"""What a part may import beside itself and `errors`; a part that is not listed fails the test."""

MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def part_of(module: str) -> str:
    """sinr3d.codec.header -> codec; sinr3d -> sinr3d."""
    return module.split(".")[1] if "." in module else "sinr3d"


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, anywhere in it: "sinr3d.inr.spec", ..."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            base = node.module or ""
            is_root = base == "sinr3d"
            found |= {f"{base}.{alias.name}" for alias in node.names} if is_root else {base}
    return {name for name in found if name.split(".")[0] == "sinr3d"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_follow_the_rule(module: Path):
    part = "sinr3d" if module == Path("__init__.py") else module.parts[0].removesuffix(".py")
    assert part in ALLOWED, f"give {part} its line in ALLOWED, by the import rule of the design"
    known = {*ALLOWED[part], part, "errors"}
    bad = {name for name in imports_of(ROOT / module) if part_of(name) not in known}
    assert not bad, f"sinr3d/{module} may import {sorted(known)}, not {sorted(bad)}"


def test_the_rule_sees_imports_inside_functions(tmp_path: Path):
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    from sinr3d import cli, metrics\n    import sinr3d.inr.spec\n    import torch\n"
    )
    assert imports_of(path) == {"sinr3d.cli", "sinr3d.metrics", "sinr3d.inr.spec"}


def test_only_the_nerf_package_imports_nerfstudio():
    for module in MODULES:
        text = (ROOT / module).read_text(encoding="utf-8")
        assert module.parts[0] == "nerf" or "import nerfstudio" not in text
        assert module.parts[0] == "nerf" or "from nerfstudio" not in text


@pytest.mark.parametrize(
    "module",
    ["sinr3d", "sinr3d.cli", "sinr3d.codec.info", "sinr3d.inr.spec", "sinr3d.files", "sinr3d.errors"],
)
def test_light_modules_do_not_wait_for_torch(module: str):
    code = f"import sys, {module}; print([m for m in ('torch', 'numpy', 'trimesh') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
