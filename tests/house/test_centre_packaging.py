"""What is packaged of a centre agrees with the programs: compose.yaml, its configurations, its first certificates, its unit."""

import asyncio
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_outputs import free_port
from real_nats import SERVER, NatsServer

from vreid.cli.main import VERBS, main, parsed
from vreid.fleet.centre.settings import read_centre
from vreid.fleet.rights import of_box, of_centre
from vreid.runtime.gallery_place import DatabaseAddress, place_of

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "packaging" / "centre"
UNIT = ROOT / "packaging" / "vreid-centre.service"
BUILT = ("setup", "centre", "serve")
MADE = re.compile(r"\$\{VREID_CENTRE:-/etc/vreid-centre\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What first.sh makes, as whoever runs the tests."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("centre")
    user = str(os.getuid())
    environment = {
        **os.environ,
        "POSTGRES_UID": user,
        "VREID_UID": user,
        "VREID": f"{sys.executable} -m vreid.cli.main",
    }
    command = ["sh", str(FOLDER / "first.sh"), str(folder), "centre.example"]
    for _ in range(2):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert before and {path: path.read_bytes() for path in before} == before  # a second time nothing is made anew
    return folder


def words_of(service: dict[str, Any]) -> list[str]:
    return [str(word).replace("$$", "$") for word in service["command"]]


@pytest.mark.parametrize("name", BUILT)
def test_every_command_is_one_of_the_program(compose: dict[str, Any], name: str) -> None:
    import importlib
    from typing import get_args

    verb, below, *rest = words_of(compose["services"][name])
    module = importlib.import_module(f"vreid.cli.{verb}")
    kinds = {each.__metadata__[0].name: get_args(each)[0] for each in get_args(module.Args)}
    assert verb in VERBS and parsed(kinds[below], f"vreid {verb} {below}", rest)
    image = compose["services"][name]["build"]
    assert (ROOT / "packaging" / "centre" / image["context"]).resolve() == ROOT
    assert {"postgres", "fleet", "serve"} <= set(image["args"]["EXTRAS"].split(","))


def test_every_file_is_there_or_made(compose: dict[str, Any], made: Path) -> None:
    for secret in compose["secrets"].values():
        assert Path(MADE.sub(str(made), secret["file"])).stat().st_mode & 0o077 == 0, secret
    for name, service in compose["services"].items():
        for mount in service["volumes"]:
            source, target, *how = MADE.sub(str(made), mount).split(":")
            if "/" in source:
                assert (FOLDER / source).is_file() and how == ["ro"] and target.startswith("/etc/vreid-centre/"), mount
            else:
                assert source in compose["volumes"] and how == [], mount
        assert set(service["secrets"]) <= set(compose["secrets"]), name
        mounted = {mount.split(":")[-2] for mount in service["volumes"] if mount.endswith(":ro")}
        mounted |= {f"/run/secrets/{secret}" for secret in service["secrets"]}
        named = set(re.findall(r"/(?:etc/vreid-centre|run/secrets)/[\w.]+", json.dumps(service)))
        for file in ("nats.conf", "postgresql.conf", "centre.toml"):
            if f"/etc/vreid-centre/{file}" in mounted:
                text = (FOLDER / file).read_text(encoding="utf-8")
                named |= {
                    f"/{path}" for path in re.findall(r"(?:etc/vreid-centre|run/secrets)/[\w.]+(?=[\"'};])", text)
                }
        assert {path for path in named if not path.endswith(("pgpass", "nats_centre"))} <= mounted | {
            "/etc/vreid-centre/centre.toml"
        }, name


def test_nothing_is_reached_from_outside_but_the_server_of_boxes(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"nats": ["4222:4222"], "serve": ["127.0.0.1:8443:8443"]}
    assert compose["networks"]["inside"] == {"internal": True}
    assert all("inside" in service["networks"] for service in compose["services"].values())
    assert all(name in ports or service["networks"] == ["inside"] for name, service in compose["services"].items())


def test_every_service_is_bounded_checked_and_without_a_password_of_its_own(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["mem_limit"] and service["cpus"], name
        assert service["healthcheck"].get("test") or (name == "setup" and service["restart"] == "on-failure"), name
        assert service["restart"] in ("unless-stopped", "on-failure")
        assert not any("PASSWORD" in key and not key.endswith("_FILE") for key in service.get("environment", {})), name
        if name in BUILT:
            assert service["read_only"] and service["cap_drop"] == ["ALL"]
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    assert not re.search(r"://\w+:(?!\$)[^@\s]+@", text)
    health = compose["services"]["centre"]["healthcheck"]["test"][-1]
    assert ":9100/healthz" in health and "listen = 9100" in (FOLDER / "centre.toml").read_text(encoding="utf-8")


def test_the_centres_file_is_one_and_reaches_what_compose_starts(
    compose: dict[str, Any], made: Path, tmp_path: Path
) -> None:
    text = (FOLDER / "centre.toml").read_text(encoding="utf-8")
    here = text.replace("/etc/vreid-centre", str(made)).replace("/run/secrets", str(made / "secrets"))
    (tmp_path / "centre.toml").write_text(here.replace("#retention", "retention"))
    settings = read_centre(tmp_path / "centre.toml", {})
    served = place_of(compose["services"]["serve"]["environment"]["GALLERY"])
    resolved = settings.regions[0].gallery
    assert isinstance(served, DatabaseAddress) and served.gallery == resolved.gallery
    assert served.uri == resolved.uri.replace(str(made), "/etc/vreid-centre")
    assert compose["services"]["serve"]["environment"]["GALLERY"] == words_of(compose["services"]["serve"])[3]
    password = (made / "secrets" / "nats_centre").read_text()
    assert settings.server == f"tls://centre:{password}@nats:4222" and len(password) == 48
    assert settings.regions[0].retention == 30 * 86400


def test_the_nats_server_takes_its_configuration_and_its_accounts(made: Path, tmp_path: Path, capsys: Any) -> None:
    if SERVER is None:
        pytest.skip("there is no NATS server: apt-get install nats-server")
    inside, secrets = tmp_path / "etc" / "vreid-centre", tmp_path / "run" / "secrets"
    inside.mkdir(parents=True)
    secrets.mkdir(parents=True)
    users = (made / "secrets" / "nats_users.conf").read_text()
    assert of_centre().as_config() in users
    box = f'  {{ user: "crossing-7", password: "word", {of_box("crossing-7", "north").as_config()} }}\n]'
    (secrets / "nats_users").write_text(users.replace("\n]", f"\n{box}"))
    shutil.copy(made / "secrets" / "nats.key", secrets / "nats_key")
    shutil.copy(made / "nats.pem", inside)
    text = (FOLDER / "nats.conf").read_text(encoding="utf-8")
    for path in ("/etc/vreid-centre", "/run/secrets/", "/data"):
        text = text.replace(f" {path}", f" {tmp_path}{path}")
    server = NatsServer.__new__(NatsServer)  # whose configuration is this one
    server.port, server._file, server._process = free_port(), inside / "nats.conf", None
    text = text.replace("0.0.0.0:4222", f"127.0.0.1:{server.port}").replace(
        "127.0.0.1:8222", f"127.0.0.1:{free_port()}"
    )
    server._file.write_text(text)
    server.start()
    try:
        operator = (made / "secrets" / "nats_operator").read_text()
        words = ["fleet", "setup", f"tls://operator:{operator}@localhost:{server.port}", "--ca", str(made / "ca.pem")]
        assert (
            main(words) == 2 and "ertificate" in capsys.readouterr().err
        )  # it is of nats and centre.example, not of localhost
        import asyncio

        barred = asyncio.run(_as_box(server.port, made / "ca.pem"))
        assert barred == ["v1.identity.crossing-7", "v1.south.crossing-7.gate", "v1.north.crossing-8.gate"]
    finally:
        server.stop()


async def _as_box(port: int, authority: Path) -> list[str]:
    """Where a box may not publish, with its account of the packaged configuration."""
    import ssl

    import nats

    trusting, barred = ssl.create_default_context(cafile=str(authority)), list[str]()

    async def note(error: Exception) -> None:
        barred.extend(re.findall(r'publish to "([^"]+)"', str(error)))

    client = await nats.connect(
        f"tls://127.0.0.1:{port}", user="crossing-7", password="word", tls=trusting, tls_hostname="centre.example",
        error_cb=note,
    )  # fmt: skip
    places = ("south.crossing-7", "north.crossing-8", "north.crossing-7")
    for subject in ("v1.identity.crossing-7", *(f"v1.{place}.gate" for place in places)):
        await client.publish(subject, b"")
    await client.flush()
    for _ in range(100):  # errors come in their own time, in order
        if len(barred) < 3:
            await asyncio.sleep(0.1)
    await client.close()
    return barred


def test_the_certificates_are_for_the_names_that_are_called(made: Path) -> None:
    names = {"postgres": "DNS:postgres", "nats": "DNS:nats, DNS:centre.example", "serve": "DNS:localhost"}
    for name, wanted in names.items():
        words = ["openssl", "x509", "-in", made / f"{name}.pem", "-noout", "-ext", "subjectAltName"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert wanted in said
        checked = ["openssl", "verify", "-CAfile", made / "ca.pem", made / f"{name}.pem"]
        assert subprocess.run(checked, capture_output=True, check=False).returncode == 0


def test_nobody_comes_to_the_database_without_tls_and_a_password() -> None:
    rules = [line.split() for line in (FOLDER / "pg_hba.conf").read_text().splitlines() if line and line[0] != "#"]
    assert [(rule[0], rule[-1]) for rule in rules] == [("local", "scram-sha-256"), ("hostssl", "scram-sha-256")]
    assert "ssl = on" in (FOLDER / "postgresql.conf").read_text().splitlines()


def test_the_unit_is_that_of_a_run_but_for_what_it_starts() -> None:
    parser = {}
    for path in (UNIT, UNIT.with_name("vreid.service")):
        read = configparser.RawConfigParser(strict=False, interpolation=None, comment_prefixes="#", delimiters="=")
        read.optionxform = str  # type: ignore[assignment, method-assign]
        read.read(path, encoding="utf-8")
        parser[path.name] = {(part, key): value for part in read.sections() for key, value in read[part].items()}
    run, centre = parser["vreid.service"], parser["vreid-centre.service"]
    other = {key for key in {*run, *centre} if run.get(key) != centre.get(key)}
    assert other == {
        ("Unit", "Description"), ("Unit", "Documentation"), ("Unit", "After"), ("Service", "ExecStart"),
        ("Service", "ExecReload"), ("Service", "SupplementaryGroups"), ("Service", "DeviceAllow"),
    }  # fmt: skip
    assert centre["Service", "ExecStart"] == "/opt/vreid/bin/vreid centre run /etc/vreid/centre.toml"
