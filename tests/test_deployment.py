"""What `errata init` lays down to deploy: services that errata's own command line takes, no secret
in any file, no port that leads to /admin."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import errata
from errata import cli
from errata.config import load
from errata.errors import BadInput

TEMPLATE = Path(errata.__file__).parent / "template"
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
COMPOSE: dict[str, Any] = yaml.load(
    (TEMPLATE / "docker-compose.yml").read_text(encoding="utf-8"),
    Loader=yaml.SafeLoader,  # with its merge keys, which are YAML 1.1 and Compose's
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
SECRET = re.compile(r"PASSWORD|TOKEN|KEYS?\b|SECRET")
FROM_OUTSIDE = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")


def config_of(service: dict[str, Any]) -> Any:
    """The config that the command of a service leads to, read as the command line reads it."""
    words = cli.split(service["command"])
    module = cli.stage_module(words.stage)
    fields = module.Config.model_fields
    flags = {name: info.annotation is bool for name, info in fields.items()}
    typed, positionals = cli.overrides(words.rest, flags)
    assert not positionals, positionals
    path = TEMPLATE / "configs" / f"{words.stage}.yaml"
    return load(path if path.is_file() else None, module.Config, typed)


def environments() -> list[tuple[str, str, str]]:
    return [
        (name, key, str(value))
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
    ]


def test_every_service_comes_from_somewhere_and_what_it_names_is_there() -> None:
    for name, service in SERVICES.items():
        assert {"image", "build"} & set(service), name
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        for needed, told in service.get("depends_on", {}).items():
            assert told == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed], f"{name} waits for {needed}"
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source == "." or source in COMPOSE["volumes"], f"{name}: {volume}"


def test_the_schema_of_compose_holds() -> None:
    package = pytest.importorskip("check_jsonschema", reason="brings the schema of Compose")
    folder = Path(package.__file__).parent / "builtin_schemas" / "vendor"
    jsonschema.validate(COMPOSE, json.loads((folder / "compose-spec.json").read_text()))


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_that_errata_takes(name: str) -> None:
    config_of(SERVICES[name])


def test_an_unknown_knob_would_be_found() -> None:
    command = [*SERVICES["engine"]["command"], "prot=1"]
    with pytest.raises(BadInput, match="did you mean `port`"):
        config_of({"command": command})


def test_two_gateways_differ_in_name_and_nothing_that_decides() -> None:
    one, two = (config_of(SERVICES[name]) for name in ("gateway-a", "gateway-b"))
    assert one.name != two.name  # their files are called by it
    assert one.model_copy(update={"name": ""}) == two.model_copy(update={"name": ""})
    engine = config_of(SERVICES["engine"])
    assert one.upstream == f"http://engine:{engine.port}/v1"


def test_no_secret_stands_in_the_file_nor_in_a_command() -> None:
    secrets = [(name, key, value) for name, key, value in environments() if SECRET.search(key)]
    assert secrets
    for name, key, value in secrets:
        assert FROM_OUTSIDE.fullmatch(value), f"{name}: {key}"
    for name, _, value in environments():
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", value), f"{name}: a password in a URL"
    commands = " ".join(word for name in OURS for word in SERVICES[name]["command"])
    assert not SECRET.search(commands.upper())


def test_every_variable_of_the_file_is_explained_and_empty_or_harmless() -> None:
    example = (TEMPLATE / "dot-env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    text = (TEMPLATE / "docker-compose.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked == set(given)
    assert [name for name, value in given.items() if SECRET.search(name) and value] == []
    assert ".env" in (TEMPLATE / "dot-gitignore").read_text().splitlines()


def test_no_port_leads_to_admin_the_engine_or_the_record() -> None:
    for name, service in SERVICES.items():
        inside = [int(port.rsplit(":", 1)[1]) for port in service.get("ports", [])]
        if not name.startswith("gateway"):
            assert inside == [], name
            continue
        config = config_of(service)
        assert inside == [config.port], name
        assert config.admin_port not in inside
        assert config.admin_host == "127.0.0.1", "of the container"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["engine"]["networks"] == SERVICES["postgres"]["networks"] == ["inside"]


@pytest.mark.parametrize("name", ["engine", "gateway-a", "gateway-b"])
def test_health_is_asked_where_it_listens_and_a_drain_has_its_time(name: str) -> None:
    config, service = config_of(SERVICES[name]), SERVICES[name]
    assert f"127.0.0.1:{config.port}/healthz" in service["healthcheck"]["test"][-1]
    compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")
    drain = config.drain_seconds if name == "engine" else config.timeouts.drain
    assert int(service["stop_grace_period"].removesuffix("s")) > drain


def test_the_image_asks_for_extras_that_there_are_and_copies_nothing() -> None:
    text = (TEMPLATE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert not [line for line in steps if line.split()[0] in ("COPY", "ADD")]
    asked = re.search(r"errata\[([\w,]+)\]==(\d+\.\d+)\.\*", text)
    assert asked
    assert errata.__version__.startswith(f"{asked[2]}.")
    if PROJECT.is_file():
        extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
        assert set(asked[1].split(",")) <= set(extras)
    assert "postgres" in asked[1].split(",")
    assert 'ENTRYPOINT ["errata"]' in text
    for name in OURS:  # the entry point is there already
        assert shlex.join(SERVICES[name]["command"]).split()[0] in cli.STAGES
