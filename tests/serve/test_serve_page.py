"""The examples of docs/serve.md, run against a real server; and `vreid serve token` as the page has it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_site import IN_BOTH, MadeSite, Served, served_here

from vreid.cli.main import main
from vreid.runtime.site.read import read_site
from vreid.runtime.sources.table import address_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def on(server: Served, text: str) -> str:
    return text.replace("http://127.0.0.1:8080", server.url).replace("vreid_...", server.site.given["admin"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@IN_BOTH
def test_every_line_of_curl_does_what_it_says(served: Served, tmp_path: Path) -> None:
    script = on(served, "set -e -o pipefail\n" + block("bash"))
    ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "sighting.jpg").read_bytes().startswith(b"\xff\xd8")
    lines = (tmp_path / "gate.jsonl").read_text().splitlines()
    assert lines and all(json.loads(line)["camera"] == "gate" and json.loads(line)["jpeg"] for line in lines)
    for word in (
        '"next":"bmFtZWQt',
        '"answer":',
        '"blue estate"',
        '"grey van"',
        '"merged":[6]',
        '"verb":"merge"',
        '"running":',
    ):
        assert word in ran.stdout, word


def test_the_python_example_runs(served: Served, tmp_path: Path) -> None:
    shutil.copy(served.site.crops()[0], tmp_path / "sighting.jpg")
    ran = subprocess.run(
        [sys.executable, "-c", on(served, block("python"))], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].split()[0] in ("known", "doubtful") and ran.stdout.endswith("manifest\n")


def test_the_site_of_the_page_has_live_cameras_of_the_scene(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(block("toml"))
    site = read_site(tmp_path / "site.toml", {})
    cameras = [address_of(camera.source) for camera in site.cameras]
    assert [(camera.camera, camera.live) for camera in cameras] == [("gate", True), ("bridge", True)]
    assert (site.gallery, site.enrol_unknown) == (tmp_path / "known.db", True)


def test_tokens_are_made_listed_and_revoked_by_the_command_line(
    open_site: MadeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", "token", "--gallery", str(open_site.gallery)]
    assert main([*words, "--name", "office", "--role", "edit"]) == 0
    token = capsys.readouterr().out.strip()
    assert main([*words, "--name", "gate", "--camera", "gate", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["role"]) == ("gate", "look")
    assert main([*words, "--list", "--json"]) == 0
    rows = [(one["name"], one["role"], one["cameras"]) for one in json.loads(capsys.readouterr().out)["tokens"]]
    assert rows == [("office", "edit", "all"), ("gate", "look", "gate")]
    with served_here(open_site) as server:
        open_site.given.update(office=token, gate=made["token"])
        with server.client("office") as office, server.client("gate") as gate, server.client() as nobody:
            assert [client.get("/api/v1/vehicles").status_code for client in (office, gate, nobody)] == [200, 200, 401]
            assert main([*words, "--revoke", "office"]) == 0
            assert office.get("/api/v1/vehicles").status_code == 401
    capsys.readouterr()
    assert main([*words, "--name", "yard", "--camera", "gate", "--camera", "yard"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no sighting is of the camera 'yard' yet" in said and "'gate'" not in said
    none = str(open_site.folder / "none.db")
    assert main(["serve", "token", "--gallery", none, "--name", "early"]) == 2
    assert f"there is no gallery {none}; before the first run" in " ".join(capsys.readouterr().err.split())
    early = [f"{none}.tokens", "--name", "early", "--camera", "gate"]
    assert main(["serve", "token", "--gallery", none, "--tokens", *early]) == 0
    capsys.readouterr()
    for more, word in (
        (["--name", "gate"], "taken"), (["--revoke", "nobody"], "--list"), ([], "--name"), (["--name", "a\nb"], "printable"),
        (["--name", "run:1"], "taken"), (["--name", "x", "--role", "admin", "--camera", "gate"], "an admin sees all cameras"),
    ):  # fmt: skip
        assert main([*words, *more]) == 2
        assert word in " ".join(capsys.readouterr().err.split()), more
