"""The direction of imports (design §4): what is light stays light, and no part knows of its neighbour."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "autolabel"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"_version", "errors", "hashing", "records", "resources", "config", "secrets"}),
    frozenset({"sampling", "rendering", "prompts", "metrics", "intervals", "ranking", "rates", "parsing", "calls", "asking"})
    | frozenset(
        {"calibration", "docstrings", "parts", "words", "predicates", "significance", "shrinkage", "population", "powered", "trust"}
    )
    | frozenset({"reliability", "agreement"})
    | frozenset({"patterns", "rule_text"}),
    frozenset({"evidence", "training", "local", "causal", "llm", "labelers", "scorers", "store"}),
    frozenset({"agent", "pipeline", "planted", "train_sae", "report"}),
    frozenset({"truth"}),
    frozenset({"cli"}),
)
NEIGHBOURS = LAYERS[2]
"""Packages of which none imports another."""
LIBRARIES = {
    "torch": {"evidence", "training", "local", "causal", "planted", "train_sae"},
    "transformers": {"evidence", "training", "local", "causal"},
    "safetensors": {"evidence", "training", "local", "causal"},
    "datasets": {"evidence"},
    "fsspec": {"evidence"},
    "ray": {"evidence"},
    "openai": {"llm"},
    "httpx2": {"llm"},
    "tenacity": {"llm"},
    "duckdb": {"store"},
    "typer": {"cli"},
    "jinja2": {"report", "local"},
}
"""Which parts may import a library, anywhere in a file."""
MAY_IMPORT_LATE = {"cli", "pipeline", "report", "truth"}
"""Only these import packages of autolabel inside functions, so that a command loads what it needs."""


def area_of(path: Path) -> str:
    """`evidence` for `autolabel/evidence/gate.py`, `metrics` for `autolabel/metrics.py`."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def level_of(area: str) -> int:
    return next(level for level, areas in enumerate(LAYERS) if area in areas)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Dotted names of what a file imports, and whether at module level; what only a type checker reads is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(inner) for function in functions for inner in ast.walk(function)}
    checks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unread = {id(inner) for check in checks for inner in ast.walk(check)}
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"autolabel.{alias.name}" for alias in node.names] if node.module == "autolabel" else [str(node.module)]
        else:
            continue
        for name in names:
            yield name, id(node) not in late


def own_imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Areas of autolabel that a file imports, itself left out."""
    for name, at_top in imports(path):
        first, *rest = name.split(".")
        if first == "autolabel" and rest and rest[0] != area_of(path):
            yield rest[0], at_top


def test_every_module_has_its_layer() -> None:
    known = frozenset[str]().union(*LAYERS) | {"__init__"}
    assert {area_of(path) for path in MODULES} <= known


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    area = area_of(path)
    if area == "__init__":
        return
    for imported, at_top in own_imports(path):
        assert level_of(imported) <= level_of(area), f"{path} imports {imported}, which stands above it"
        assert not (area in NEIGHBOURS and imported in NEIGHBOURS), f"{path} imports its neighbour {imported}"
        assert at_top or area in MAY_IMPORT_LATE, f"{path} imports {imported} inside a function"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    for name, _ in imports(path):
        library = name.split(".")[0]
        assert area_of(path) in LIBRARIES.get(library, {area_of(path)}), f"{path} imports {library}"


def test_the_command_line_imports_only_light_things_at_module_level() -> None:
    light = LAYERS[0] | LAYERS[1] | {"cli"}
    heavy = [
        (path.name, imported)
        for path in MODULES
        if area_of(path) == "cli"
        for imported, at_top in own_imports(path)
        if at_top and imported not in light
    ]
    assert heavy == []


PROBE = """
import sys
import typer.testing
from autolabel.cli import app
result = typer.testing.CliRunner().invoke(app, {arguments!r})
assert result.exit_code == 0, result.output + repr(result.exception)
assert {said!r} in result.output, result.output
loaded = [name for name in {libraries!r} if name in sys.modules]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    ("arguments", "said", "libraries"),
    [
        (["--help"], "collect", ["torch", "transformers", "openai", "duckdb", "pandas"]),
        (["query", "--help"], "SQL", ["torch", "transformers", "openai"]),
        (["--version"], "autolabel", ["torch", "transformers", "openai", "duckdb"]),
    ],
)
def test_help_and_query_load_no_model_library(arguments: list[str], said: str, libraries: list[str]) -> None:
    program = PROBE.format(arguments=arguments, said=said, libraries=libraries)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=PACKAGE.parent, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_reading_a_database_loads_no_model_library() -> None:
    program = (
        "import sys\n"
        "import autolabel.store.connection, autolabel.store.reading, autolabel.store.sandbox\n"
        "assert not {'torch', 'transformers', 'openai'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=PACKAGE.parent, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
