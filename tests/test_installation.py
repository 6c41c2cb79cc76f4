"""However it is installed, one importable name, and nobody's own `models` or `workflows` in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "kinetics_pipeline", "models", "workflows")
BUILDS = """
from kinetics_pipeline.models import InputError, build_model
from kinetics_pipeline.workflows.flags.values import require_loaders

try:
    build_model("none")
except InputError as error:
    print(error)
"""
"""A snippet that needs all three packages and no weights; it says which models there are."""
TYPED = """
from kinetics_pipeline.models import count_parameters
from kinetics_pipeline.workflows.runtime.progress import duration

reveal_type(count_parameters)
duration("four")
"""
UNFOLLOWED = """
[mypy]
follow_imports = silent
[mypy-torch.*,numpy.*,pandas.*,cyclopts.*,rich.*]
follow_imports = skip
"""


def _copy_of_checkout(folder: Path) -> Path:
    """The files that a package is made of, links as links."""
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def _pip(*words: str | Path) -> None:
    """Runs pip without the network: what is built needs setuptools alone, and what is needed is installed already."""
    command = [sys.executable, "-m", "pip", *map(str, words)]
    flags = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _environment_with(folder: Path, *package: str | Path) -> Path:
    """The Python of a new virtual environment: the package in it, and all else from the environment of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(site, "zz_all_else.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _pip("--python", python, "install", "--ignore-installed", "--no-build-isolation", *package)
    return python


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _copy_of_checkout(tmp_path_factory.mktemp("checkout") / "kinetics-pipeline")


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", folder, checkout)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def pythons(checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The Python of an environment with the wheel, and of one with an editable install."""
    return {
        "wheel": _environment_with(tmp_path_factory.mktemp("environment") / "wheel", wheel),
        "editable": _environment_with(tmp_path_factory.mktemp("environment") / "editable", "--editable", checkout),
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, which has packages `models` and `workflows` of its own."""
    for name in ("models", "workflows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("mine = True\n")
    return tmp_path


def _said(command: list[str | Path], folder: Path, **environment: str) -> str:
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=bare | environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _modules(names: list[str]) -> set[str]:
    return {name for name in names if name.endswith((".py", "py.typed"))}


def test_a_wheel_holds_every_module_under_one_name(checkout: Path, wheel: Path):
    files = [path for name in SOURCES for path in (checkout / name).rglob("*")]
    there = _modules([str(path.relative_to(checkout)) for path in files])
    expected = {name if name.startswith("kinetics_pipeline") else f"kinetics_pipeline/{name}" for name in there}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert _modules(names) == expected
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kinetics_pipeline"}


def test_a_source_archive_makes_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path):
    code = "import sys, setuptools.build_meta as build; print(build.build_sdist(sys.argv[1]))"
    archive = tmp_path / _said([sys.executable, "-c", code, tmp_path], checkout).splitlines()[-1]
    with tarfile.open(archive) as members:
        members.extractall(tmp_path, filter="data")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", tmp_path, archive.with_name(archive.name[: -len(".tar.gz")]))
    with zipfile.ZipFile(tmp_path / wheel.name) as again, zipfile.ZipFile(wheel) as first:
        assert sorted(again.namelist()) == sorted(first.namelist())


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_an_installed_package_works_beside_packages_of_the_users_own(
    kind: str, pythons: dict[str, Path], project: Path
):
    own = "import models, workflows\nassert models.mine and workflows.mine\n"
    assert "i3d" in _said([pythons[kind], "-c", own + BUILDS], project)
    command = [pythons[kind].with_name("kinetics-pipeline"), "--help"]
    assert "build" in _said(command, project, PYTHONPATH=str(project))


def test_a_wheel_offers_nothing_else_to_import(pythons: dict[str, Path], tmp_path: Path):
    code = "import importlib.util as i; print([n for n in ('models', 'workflows') if i.find_spec(n)])"
    assert _said([pythons["wheel"], "-c", code], tmp_path) == "[]\n"


def test_a_bare_checkout_runs_without_being_installed(checkout: Path):
    # -S leaves out site-packages, and with them this project's own editable install.
    path = os.pathsep.join([str(checkout), sysconfig.get_path("purelib")])
    where = "import kinetics_pipeline.workflows.cli.app as m; print(m.__file__)\n"
    said = _said([sys.executable, "-S", "-c", where + BUILDS], checkout, PYTHONPATH=path)
    assert said.startswith(str(checkout / "kinetics_pipeline" / "workflows"))
    assert "i3d" in said
    assert "build" in _said([sys.executable, "-S", "-m", "workflows", "--help"], checkout, PYTHONPATH=path)


def test_a_checkout_whose_links_became_files_says_what_to_do(tmp_path: Path):
    checkout = _copy_of_checkout(tmp_path / "checkout")
    for name in ("models", "workflows"):
        (checkout / "kinetics_pipeline" / name).unlink()
        (checkout / "kinetics_pipeline" / name).write_text(f"../{name}")
    path = os.pathsep.join([str(checkout), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-m", "workflows", "--help"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "git config core.symlinks true" in done.stderr


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_a_type_checker_outside_the_checkout_knows_the_types(
    kind: str, pythons: dict[str, Path], project: Path, tmp_path_factory: pytest.TempPathFactory
):
    (project / "mine.py").write_text(TYPED)
    (project / "mypy.ini").write_text(UNFOLLOWED)
    cache = tmp_path_factory.mktemp("cache")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", pythons[kind], f"--cache-dir={cache}", "mine.py"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert 'incompatible type "str"; expected "float"' in errors[0]
    assert "-> int" in done.stdout
