"""The layout that CONTRIBUTING.md describes: imports point down, and nothing grows too long."""

import ast
import graphlib
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_salnet"

# From the top floor down. A room is a package, or a module beside them.
FLOORS = (
    {"cli", "serving"},
    {"training", "evaluation", "prediction"},
    {"formats", "data"},
    {"models"},
    {"layers", "losses", "metrics", "images", "regions"},
    {"files", "parallel", "download", "runs"},
)
# The package's own face: re-exports of what users take, and its version.
FACE = {"keras_salnet", "visualize"}

LONGEST_FILE = 450
LONGEST_FUNCTION = 60

SOURCES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [path for folder in ("benchmarks", "tools") for path in (ROOT / folder).glob("*.py")]


def room(path):
    """The room that a file of the package stands in."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "keras_salnet" if parts == ("__init__",) else parts[0]


def imported(path):
    """The rooms that a file imports from, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    parts = (name.split(".") for name in names if name.startswith("keras_salnet."))
    found = {name[1] for name in parts} - {"__version__"}
    return found - {room(path)}


@pytest.fixture(scope="module")
def arrows():
    """Room → rooms that it imports from."""
    found = {}
    for path in SOURCES:
        found.setdefault(room(path), set()).update(imported(path))
    return found


def test_every_room_has_its_floor(arrows):
    known = set().union(*FLOORS)
    assert arrows.keys() - FACE == known
    assert {target for targets in arrows.values() for target in targets} <= known


def test_no_import_runs_up_a_floor(arrows):
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    up = [
        f"{source} imports {target}"
        for source in arrows.keys() - FACE
        for target in arrows[source]
        if floor[target] < floor[source]
    ]
    assert not up


def test_rooms_import_in_no_circle(arrows):
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError


def module_imports(path):
    """The modules of the package that a file imports when it is loaded."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_salnet"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = Path(PACKAGE.parent, *inner.split(".")).with_suffix(".py").is_file()
                yield inner if is_module else node.module


def test_modules_import_in_no_circle():
    graph = {}
    for path in SOURCES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[name.removesuffix(".__init__")] = set(module_imports(path))
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=lambda path: path.name)
def test_files_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


def test_scripts_stand_outside_the_docs():
    listed = subprocess.run(
        ["git", "ls-files", "docs/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stdout == ""
