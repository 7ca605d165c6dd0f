"""centre.toml: what it says, and what is wrong with it in one sentence each, without a secret."""

from pathlib import Path

import pytest
from made_centre import model_in

from vreid.cli.main import main
from vreid.fleet.centre.settings import read_centre
from vreid.models.errors import Refused

SECRET = "hush-9"
GALLERY = "postgresql://me:${PASSWORD}@db.example/vreid?gallery=north"
FILE = f"""
server = "tls://me:${{file:secret}}@centre.example:4222"
model = "model/small.json"
[[region]]
name = "north"
gallery = "{GALLERY}"
retention = "30d"
[region.topology]
unlisted = "never"
pair = [{{ cameras = ["box 1/gate", "box 2/gate"], least_s = 4.0 }}]
[[region]]
name = "門"
gallery = "postgresql://db.example/vreid?gallery=south"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("nats", reason="a centre needs nats-py: pip install 'vreid[fleet]'")
    model_in(tmp_path / "model")
    monkeypatch.chdir(tmp_path)  # from where the files of secrets are
    (tmp_path / "secret").write_text(SECRET + "\n")
    path = tmp_path / "centre.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_the_file_is_read_with_its_secrets_and_relative_to_itself(file: Path) -> None:
    settings = read_centre(file, {"PASSWORD": SECRET})
    north, south = settings.regions
    assert settings.space.about.fingerprint == "aaaaaaaa" and settings.space.match.threshold == 0.7
    assert SECRET in settings.server and SECRET in north.gallery.uri and SECRET not in repr(settings)
    assert (north.retention, south.retention, settings.lease_s) == (30 * 86400, None, 15.0)
    assert (settings.reconcile_s, settings.between_regions_s) == (600.0, 0.0)
    assert north.topology.least("box 1/gate", "box 2/gate") == 4.0 and south.name == "門"


def test_a_topology_may_be_a_file_of_its_own(file: Path) -> None:
    pair = '[[pair]]\ncameras = ["box 1/gate", "box 2/gate"]\nleast_s = 9\n'
    (file.parent / "ways.toml").write_text(pair)
    file.write_text(FILE[: FILE.index("[region.topology]")] + 'topology = "ways.toml"\n')
    (north,) = read_centre(file, {"PASSWORD": SECRET}).regions
    assert north.topology.least("box 2/gate", "box 1/gate") == 9.0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("tls://", "http://", "neither nats://HOST:PORT nor tls://HOST:PORT"),
        (":4222", ":99999", "'server': the tls:// address has no valid host or port"),
        (":4222", ":4222/x", "'server': .* with no path"),
        ("centre.example:4222", "", "'server': the tls:// address has no valid host or port"),
        ('retention = "30d"', "new_below = 0.71", "region 'north': new_below 0.71 is over the model's threshold 0.7"),
        ('cameras = ["box 1/gate", "box 2/gate"]', 'cameras = ["box 1/gate"]', r"lacks 'cameras\[1\]'"),
        ("least_s = 4.0", f"least_s = {'9' * 5000}", "is not TOML"),
        ("least_s = 4.0", f"least_s = {'[' * 5000}", "is not TOML"),
        ("retention =", "retain =", "nearest is 'retention'"),
        ('name = "門"', 'name = "north"', "two regions 'north'"),
        ('name = "門"', 'name = "identity"', "subjects of messages to boxes begin with"),
        ("gallery=south", "gallery=north", "two regions have one gallery"),
        (f'"{GALLERY}"', '"known.db"', "keeps nothing in files"),
        ('"box 1/gate"', '"gate"', "called BOX/CAMERA"),
        ('"30d"', '"30"', "not a span of time"),
        ("model/small.json", "model/none.json", "no manifest"),
        ("${PASSWORD}", "${PASWORD}", "PASWORD"),
        ("server =", 'ca = "no.pem"\nserver =', "there is no file"),
        ("server =", "lease_s = 0\nserver =", "'lease_s'"),
        ("server =", "reconcile_s = -1\nserver =", "'reconcile_s'"),
        ("server =", "server", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_without_a_secret(file: Path, old: str, new: str, reason: str) -> None:
    text = FILE.replace(old, new)
    if reason == "two regions have one gallery":
        text = text.replace("postgresql://db.example", "postgresql://me:${PASSWORD}@db.example")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=reason) as refused:
        read_centre(file, {"PASSWORD": SECRET})
    assert SECRET not in str(refused.value)


def test_a_file_without_a_region_says_what_to_add(file: Path) -> None:
    file.write_text('server = "nats://127.0.0.1:4222"\nmodel = "model/small.json"\n')
    with pytest.raises(Refused, match=r"names no region; add \[\[region\]\]"):
        read_centre(file, {})


def test_a_topology_that_is_nested_without_end_is_refused(file: Path) -> None:
    (file.parent / "ways.toml").write_text(f"pair = {'[' * 5000}")
    file.write_text(FILE[: FILE.index("[region.topology]")] + 'topology = "ways.toml"\n')
    with pytest.raises(Refused, match="is not TOML"):
        read_centre(file, {"PASSWORD": SECRET})


def test_a_file_may_begin_with_the_mark_that_some_editors_write(file: Path) -> None:
    file.write_text(FILE, encoding="utf-8-sig")
    assert len(read_centre(file, {"PASSWORD": SECRET}).regions) == 2


@pytest.mark.parametrize("index", ["foo", "hnsw?x=1", "ivf?nprobe=0"])
def test_a_centre_with_an_index_that_is_not_there_does_not_begin(
    file: Path, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(FILE.replace('retention = "30d"', f'index = "{index}"').replace("${PASSWORD}", "x"))
    assert main(["centre", "run", str(file)]) == 2
    assert "index" in capsys.readouterr().err
