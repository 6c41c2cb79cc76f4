"""The commands in the files for containers and clusters, and the files' own schemas."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from kinetics_pipeline.workflows.cli.app import app
from tests.builders import readme

DOCKER = Path(__file__).parents[3] / "docker"
SCHEMAS = Path(__file__).parents[2] / "data"
FILES = sorted(path for path in DOCKER.iterdir() if path.suffix != ".json")


def strings(document: Any) -> Iterator[str]:
    """All strings of a YAML document; a list of words, as of a container's command, is one of them."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from strings(value)
    elif isinstance(document, list):
        if document and all(isinstance(one, str) and " " not in one for one in document):
            yield shlex.join(document)
        else:
            for value in document:
                yield from strings(value)


def commands(path: Path, program: str) -> list[list[str]]:
    """The arguments of a program wherever a file calls it, also in its comments. Variables are 1, and the arguments
    that a script passes on are those of the call at its top."""
    text = path.read_text()
    lines = text.replace("\\\n# ", "").replace("\\\n", "").splitlines()
    if path.suffix == ".yaml":
        lines = [line for line in lines if line.startswith("#")] + list(strings(yaml.safe_load(text)))
    passed_on = re.search(rf"sbatch docker/{path.name} (.+)", text)
    found = []
    for line in lines:
        if passed_on:
            line = line.replace('"$@"', passed_on[1])
        line = re.sub(r"\$\w+", "1", line)
        for match in re.finditer(rf"(?<![\w/.-]){program} +(?! |{program} )((?:'[^']*'|[^`'|>&;])*)", line):
            found.append(shlex.split(match[1]))
    return [words for words in found if words and re.fullmatch(r"[a-z-]+", words[0])]


def parsed_by_ray(words: list[str]) -> click.Context:
    """Ray's command with its arguments, parsed as on the command line and not run."""
    command: click.Command = ray_cli
    context = click.Context(ray_cli)
    while isinstance(command, click.Group):
        name, *words = words
        inner = command.get_command(context, name)
        assert inner is not None, f"ray has no command {name}"
        command = inner
    return command.make_context(name, words)


def test_every_command_of_ours_in_the_files_is_one() -> None:
    found = {path.name: [words[0] for words in commands(path, "kinetics-pipeline")] for path in FILES}
    assert found == {
        "Dockerfile": ["build"],
        "alerts.yaml": ["status", "status", "status", "report"],
        "cluster.yaml": ["build"],
        "compose.yaml": ["build"],
        "rayjob-train.yaml": ["train"],
        "rayjob.yaml": ["build"],
        "slurm.sh": ["build"],
    }
    for path in FILES:
        for words in commands(path, "kinetics-pipeline"):
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_every_command_of_rays_in_the_files_is_one() -> None:
    found = {path.name: [words[0] for words in commands(path, "ray")] for path in FILES}
    assert {name: words for name, words in found.items() if words} == {
        "cluster.yaml": ["get-auth-token", "up", "exec", "down", "stop", "start", "stop", "start"],
        "compose.yaml": ["start", "start"],
        "slurm.sh": ["start", "status", "start"],
    }
    for path in FILES:
        for words in commands(path, "ray"):
            parsed_by_ray(words)


def test_every_command_of_rays_in_the_readme_is_one() -> None:
    found = [shlex.split(line)[1:] for line in readme.commands() if line.startswith("ray ")]
    assert {" ".join(words[:2]) for words in found} >= {"job submit", "up docker/cluster.yaml"}
    for words in found:
        parsed_by_ray(words)


@pytest.mark.parametrize("words", ["start --heads", "start --num-cpus=x", "jobs submit", "up"])
def test_a_wrong_command_of_rays_is_found(words: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parsed_by_ray(words.split())


def test_ray_completes_the_cluster_of_cloud_machines_and_accepts_it() -> None:
    config = prepare_config(yaml.safe_load((DOCKER / "cluster.yaml").read_text()))
    validate_config(config)
    types = config["available_node_types"]
    assert set(types) == {"head", "cpu", "gpu"}
    assert types["head"]["max_workers"] == 0
    assert types["gpu"]["docker"]["worker_image"] == "kinetics-pipeline:cuda"
    assert sum(one["max_workers"] for one in types.values()) >= config["max_workers"]


def accepted(document: Any, schema: str) -> None:
    jsonschema.Draft202012Validator(yaml.safe_load((SCHEMAS / schema).read_text())).validate(document)


DOCUMENTS = [
    ("rayjob.yaml", "kuberay_rayjob.yaml"),
    ("rayjob-train.yaml", "kuberay_rayjob.yaml"),
    ("compose.yaml", "compose_spec.yaml"),
]


@pytest.mark.parametrize(("file", "schema"), DOCUMENTS)
def test_a_manifest_has_only_fields_of_its_schema(file: str, schema: str) -> None:
    accepted(yaml.safe_load((DOCKER / file).read_text()), schema)


@pytest.mark.parametrize(
    ("file", "schema", "right", "wrong"),
    [
        ("rayjob.yaml", "kuberay_rayjob.yaml", "authOptions:", "authOption:"),
        ("rayjob.yaml", "kuberay_rayjob.yaml", "mode: token", "mode: tokens"),
        ("rayjob.yaml", "kuberay_rayjob.yaml", "minReplicas: 1", "minReplicas: '1'"),
        ("rayjob.yaml", "kuberay_rayjob.yaml", "memory: 8Gi", "memory: 8 GiB"),
        ("rayjob.yaml", "kuberay_rayjob.yaml", 'num-cpus: "0"', "num-cpus: 0"),
        ("rayjob-train.yaml", "kuberay_rayjob.yaml", "claimName:", "claim:"),
        ("compose.yaml", "compose_spec.yaml", "shm_size:", "shm-size:"),
        ("compose.yaml", "compose_spec.yaml", "dockerfile:", "docker_file:"),
        ("compose.yaml", "compose_spec.yaml", "- head\n", "- {name: head}\n"),
    ],
)
def test_a_wrong_field_of_a_manifest_is_found(file: str, schema: str, right: str, wrong: str) -> None:
    text = (DOCKER / file).read_text()
    assert right in text
    with pytest.raises(jsonschema.ValidationError):
        accepted(yaml.safe_load(text.replace(right, wrong)), schema)
