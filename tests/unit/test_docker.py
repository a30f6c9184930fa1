"""Dockerfiles and compose files: valid, and all that they name exists (no container engine runs here)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pgrouter.cli.main import main
from pgrouter.config.load import load

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
CONFIGS = ROOT / "configs" / "deployments"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yml"))
VARIABLE = re.compile(r"\$\{(\w+)\}")


def compose(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DOCKER / f"compose.{name}.yml").read_text())
    return data


def environment(name: str) -> dict[str, str]:
    lines = (DOCKER / f"{name}.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def config(name: str, tmp_path: Path) -> Path:
    """Give a deployment's configuration with the certificates that only its machines have."""
    shutil.copytree(CONFIGS, tmp_path / "etc")
    (tmp_path / "etc" / "tls").mkdir()
    for file in ("ca.crt", "client.crt", "client.key"):
        (tmp_path / "etc" / "tls" / file).write_text("")
    return tmp_path / "etc" / f"{name}.yml"


def test_there_is_a_compose_file_for_each_configuration() -> None:
    assert len(NAMES) == 5
    assert [path.name for path in sorted(DOCKER.glob("compose.*.yml"))] == [f"compose.{name}.yml" for name in NAMES]
    table = (CONFIGS / "README.md").read_text()
    assert all(f"`{name}.yml`" in table for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_is_right(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_compose_file_is_valid(name: str) -> None:
    schema = json.loads((DOCKER / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose(name))


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_those_of_the_example(name: str) -> None:
    text = (DOCKER / f"compose.{name}.yml").read_text()
    assert set(VARIABLE.findall(text)) == set(environment(name))


@pytest.mark.parametrize("name", NAMES)
def test_files_volumes_and_services_exist(name: str) -> None:
    data = compose(name)
    used = set()
    for service in data["services"].values():
        assert set(service.get("depends_on", ())) <= set(data["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            elif not source.startswith("$"):
                used.add(source)
        build = service.get("build")
        if build:
            plain = isinstance(build, str)
            file = f"{build}/Dockerfile" if plain else f"{build['context']}/{build['dockerfile']}"
            assert (DOCKER / file).is_file()
        for program in service.get("entrypoint", ()):
            mounted = [volume for volume in service["volumes"] if volume.split(":")[1] == program]
            assert mounted, f"{program} comes from nowhere"
            assert os.access(DOCKER / mounted[0].split(":")[0], os.X_OK)
    assert used == set(data["volumes"])


@pytest.mark.parametrize("name", NAMES)
def test_the_router_meets_its_hosts_and_is_met_on_its_ports(name: str, config: Path) -> None:
    data, settings = compose(name), load(config)
    published = [port.split(":")[1] for port in data["services"]["pgrouter"]["ports"]]
    listening = [*settings.listen, *([settings.http] if settings.http is not None else [])]
    assert sorted(published) == sorted(str(listen.port) for listen in listening)
    assert all(listen.host == "*" for listen in listening)
    cluster = settings.cluster
    hosts = [member.host for member in cluster.members]
    if cluster.etcd is not None:
        hosts += [re.sub(r"^https?://|:\d+$", "", endpoint) for endpoint in cluster.etcd.endpoints]
        scopes = {s["environment"]["SCOPE"] for s in data["services"].values() if "SCOPE" in s.get("environment", {})}
        assert scopes == {cluster.etcd.scope}
    assert hosts
    assert set(hosts) <= set(data["services"])
    assert cluster.monitor.password == environment(name)["PGROUTER_PASSWORD"]


@pytest.mark.parametrize("name", NAMES)
def test_no_port_of_the_host_is_given_twice(name: str) -> None:
    ports = [port.split(":")[0] for service in compose(name)["services"].values() for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", NAMES)
def test_the_applications_user_has_the_password_of_the_example(name: str) -> None:
    values = environment(name)
    if "POSTGRES_USER" in values:
        assert f'"{values["POSTGRES_USER"]}" "{values["POSTGRES_PASSWORD"]}"' in (CONFIGS / "users.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_prometheus_asks_exporters_that_are_there_and_the_router(name: str, config: Path) -> None:
    services = compose(name)["services"]
    file = DOCKER / "monitoring" / f"prometheus-{name}.yml"
    assert file.exists() == ("prometheus" in services)
    if file.exists():
        jobs = yaml.safe_load(file.read_text())["scrape_configs"]
        targets = [target for job in jobs for one in job["static_configs"] for target in one["targets"]]
        http = load(config).http
        of_router = {f"pgrouter:{http.port}"} if http is not None else set()
        assert {target for target in targets if target.startswith("pgrouter:")} == of_router
        others = {target.split(":")[0] for target in targets} - {"pgrouter"}
        assert others == {one for one in services if "exporter" in one}


@pytest.mark.parametrize(("file", "context"), [("Dockerfile", ROOT), ("patroni/Dockerfile", DOCKER / "patroni")])
def test_a_dockerfile_copies_what_is_there(file: str, context: Path) -> None:
    steps = re.findall(r"^(?:COPY) (?!--from)(.+)$", (DOCKER / file).read_text(), re.MULTILINE)
    assert steps
    for step in steps:
        for source in shlex.split(step)[:-1]:
            assert (context / source).exists(), source
