"""The layout of the code: few rooms, short files and functions, imports in one direction, a map that is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from kinetics_pipeline.shards.schema import SCHEMA_VERSION

ROOT = Path(__file__).parents[1]
MOST_ENTRIES = {"kinetics_pipeline": 16, "workflows": 14, "models": 14}
NOT_COUNTED = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
ALLOWED = {
    "kinetics_pipeline": {"kinetics_pipeline"},
    "models": {"models"},
    "workflows": {"kinetics_pipeline", "models", "workflows"},
}
"""Package -> the packages that it may import."""
FILE_LINES = 400
FUNCTION_LINES = 60
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FRAGMENT = re.compile("(Of|By|And|But|So|As|After|With|Without|Until|In|On|At(?! most)) ")
"""How a docstring begins that is understood only together with something else."""


def _entries(package: str) -> list[Path]:
    """What lies at the top of a package: its rooms, without the links to the other two packages."""
    return sorted(p for p in (ROOT / package).iterdir() if p.name not in NOT_COUNTED and not p.is_symlink())


def _files(package: str) -> list[Path]:
    files = [ROOT / package / "__init__.py"]
    for entry in _entries(package):
        files += sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]
    return files


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imported(path: Path) -> Iterator[str]:
    """The full name of every module that a file imports, also within functions."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _place(module: str) -> tuple[str, str] | None:
    """The package and the room that a module lies in; None for what is not this project's."""
    parts = module.split(".")
    if parts[0] != "kinetics_pipeline":
        return None
    if parts[1:2] in (["models"], ["workflows"]):
        parts = parts[1:]
    if len(parts) < 2:
        return None
    folder = ROOT / parts[0]
    known = (folder / parts[1]).is_dir() or (folder / f"{parts[1]}.py").is_file()
    return (parts[0], parts[1]) if known else None


def _is_file(package: str, module: str) -> bool:
    return (ROOT / package / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_has_few_entries_at_its_top(package: str):
    names = [entry.name for entry in _entries(package)]
    assert len(names) <= MOST_ENTRIES[package], names


@pytest.mark.parametrize("package", ALLOWED)
def test_files_and_functions_are_short(package: str):
    long = [str(path) for path in _files(package) if len(path.read_text().splitlines()) >= FILE_LINES]
    for path in _files(package):
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 >= FUNCTION_LINES:
                    long.append(f"{path}: {node.name}")
    assert long == []


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_those_it_may_and_models_and_workflows_have_one_name(package: str):
    for path in _files(package):
        for module in _imported(path):
            assert module.split(".")[0] not in ("models", "workflows"), f"{path} imports {module}"
            place = _place(module)
            assert place is None or place[0] in ALLOWED[package], f"{path} imports {module}"


@pytest.mark.parametrize("package", ALLOWED)
def test_rooms_import_each_other_in_one_direction(package: str):
    arrows: dict[str, set[str]] = {}
    for path in _files(package)[1:]:
        room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        places = [place for module in _imported(path) if (place := _place(module)) is not None]
        arrows.setdefault(room, set()).update(there for name, there in places if name == package and there != room)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("package", ALLOWED)
def test_the_folders_and_files_within_a_room_import_each_other_in_one_direction(package: str):
    arrows: dict[str, set[str]] = {}
    for path in _files(package)[1:]:
        here = ".".join(path.relative_to(ROOT).with_suffix("").parts[1:3])
        for module in _imported(path):
            place = _place(module)
            if place is None or place[0] != package:
                continue
            there = ".".join(module.removeprefix("kinetics_pipeline.").removeprefix(f"{package}.").split(".")[:2])
            if (ROOT / package / there.replace(".", "/")).is_dir() or _is_file(package, there):
                arrows.setdefault(here, set()).update({there} - {here})
    inside = {here: {there for there in found if "." in there and "." in here} for here, found in arrows.items()}
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        pytest.fail(f"they import each other in a circle: {' <- '.join(error.args[1])}")


def test_the_core_imports_no_ray():
    for path in _files("kinetics_pipeline"):
        assert not any(module.split(".")[0] == "ray" for module in _imported(path)), path


def test_importing_the_core_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import kinetics_pipeline; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "['kinetics_pipeline']\n"


def test_the_help_imports_none_of_the_large_libraries():
    code = (
        "import sys; from kinetics_pipeline.workflows.cli.app import run; run(['build', '--help']); "
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'torch', 'ray', 'requests', 'cv2', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_folder_of_code_is_named_as_tools_name_what_they_generate():
    generated = {"build", "dist", "lib", "target", "out", "env"}
    assert [
        path for package in ALLOWED for path in _files(package) if generated & {*path.relative_to(ROOT).parts}
    ] == []
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert not {"exclude", "extend-exclude", "force-exclude"} & set(ruff)
    assert "!" not in (ROOT / ".gitignore").read_text()


@pytest.mark.parametrize("package", ALLOWED)
def test_every_package_says_what_it_is_and_where_to_begin_reading(package: str):
    plates = {path: ast.get_docstring(_parsed(path)) or "" for path in _files(package) if path.name == "__init__.py"}
    large = [path for path in plates if len(list(path.parent.glob("*.py"))) > 4]
    assert [path for path in large if not re.search("Begin|Start", plates[path])] == []
    assert [path for path, text in plates.items() if not text] == []


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_and_the_map_speak_of_what_there_is(package: str):
    files = [path for each in ALLOWED for path in _files(each)]
    known = {*ALLOWED, *(part for path in files for part in (path.stem, *path.relative_to(ROOT).parent.parts))}
    known |= {node.name for path in files for node in ast.walk(_parsed(path)) if isinstance(node, DEFINITIONS)}
    pages = {path: ast.get_docstring(_parsed(path)) or "" for path in _files(package) if path.name == "__init__.py"}
    pages[ROOT / ".github" / "ARCHITECTURE.md"] = (ROOT / ".github" / "ARCHITECTURE.md").read_text()
    for path, text in pages.items():
        for name in re.findall(r"`([A-Za-z_][\w.]*)`", text):
            inside = path.name == "__init__.py" and name.endswith(".py")
            assert not inside or (path.parent / name).is_file(), f"{path} speaks of {name}, which is not in its folder"
            assert inside or set(name.removesuffix(".py").split(".")) <= known, f"{path} speaks of {name}"


@pytest.mark.parametrize("package", ALLOWED)
def test_no_docstring_begins_as_a_fragment(package: str):
    fragments = []
    for path in _files(package):
        for node in ast.walk(_parsed(path)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                fragments += [f"{path}:{node.lineno}: {node.value.value}"] * bool(FRAGMENT.match(node.value.value))
    assert fragments == []


def test_the_map_names_every_room_and_no_other():
    text = (ROOT / ".github" / "ARCHITECTURE.md").read_text()
    rooms: set[Path] = set()
    for heading, body in re.findall(r"^## `(\w+)/`.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        rooms |= {ROOT / heading / name.rstrip("/") for name in re.findall(r"^\| `([\w/.]+)` \|", body, re.MULTILINE)}
    assert rooms == {entry for package in ALLOWED for entry in _entries(package)}
    assert ".github/ARCHITECTURE.md" in (ROOT / "README.md").read_text()


def test_the_changelog_names_the_schema_that_is_written():
    versions = re.findall(r"^Dataset schema: (\d+)\.$", (ROOT / ".github" / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert int(versions[0]) == SCHEMA_VERSION


@pytest.mark.parametrize("page", sorted((ROOT / ".github").glob("*.md")), ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_types_that_a_clip_passes_through_are_where_the_package_says():
    named = re.findall(
        r"`([a-z_.]+)\.([A-Z]\w+)`", ast.get_docstring(_parsed(ROOT / "kinetics_pipeline/__init__.py")) or ""
    )
    assert 5 <= len(named) <= 7
    for module, name in named:
        assert hasattr(import_module(f"kinetics_pipeline.{module}"), name)
