"""A site's file: what it means, what it shares with the command line, and a sentence for whatever is wrong with it."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.session import CameraSettings, Regions, RunSettings, Session, site_of
from vreid.runtime.site.read import read_site, site_and_faults
from vreid.runtime.site.schema import SiteFile
from vreid.runtime.topology import Layout
from vreid.runtime.watches import Watch

SQUARE = "[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]"
WHOLE = f"""
model = "models/ours.json"
threads = 2
embed = "every"

[gallery]
file = "known.db"
enrol_unknown = true
index = "hnsw"
retain = "30d"

[thresholds]
false_match_rate = 0.01
threshold = 0.7
new_below = 0.5

[guards]
most_new = 40
least_quality = 0.2

[outputs]
folder = "/var/lib/vreid/live"
to = ["mqtt://broker/${{SITE}}", {{ uri_file = "hook" }}]

[[watch]]
name = "wanted"
vehicle = "blue van"

[[watch]]
kind = "truck"
cameras = ["gate"]

[metrics]
listen = 9100
hosts = ["gate.local"]

[topology]
unlisted = "never"
pair = [{{ cameras = ["gate", "yard"], least_s = 4 }}]

[defaults]
detector = "yolox:models/yolox.onnx?tiles=2"
min_score = 0.4
rate = 10
least_box = 24

[camera.gate]
uri = "rtsp://viewer:${{GATE}}@192.0.2.11/stream1"
zones.entry = {SQUARE}
masks = {{ trees = [[0, 0], [1, 0], [0.5, 0.2]], "the sky" = {SQUARE} }}

[camera.yard]
uri_file = "yard"
detector = "motion"
rate = 2.5

[camera."old tower"]
uri = "videos/tower.mp4"
"""
SECRETS = {"GATE": "p@ss/word", "SITE": "north"}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "yard").write_text("rtsp://192.0.2.12/stream1\n")
    (tmp_path / "hook").write_text("https://desk.example/secret\n")
    (tmp_path / "site.toml").write_text(WHOLE)
    return tmp_path / "site.toml"


def test_a_site_says_what_its_file_says(written: Path) -> None:
    here, site = written.parent, read_site(written, SECRETS)
    square = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
    regions = Regions({"entry": square}, {"trees": ((0, 0), (1, 0), (0.5, 0.2)), "the sky": square}, 24)
    yolox = f"yolox:{here}/models/yolox.onnx?tiles=2"
    assert site.cameras == (
        CameraSettings(
            source="gate=rtsp://viewer:p%40ss%2Fword@192.0.2.11/stream1",
            **{"detector": yolox, "min_score": 0.4, "rate": 10, "regions": regions},
        ),
        CameraSettings(
            source="yard=rtsp://192.0.2.12/stream1",
            **{"detector": "motion", "min_score": 0.4, "rate": 2.5, "regions": Regions(least_box=24)},
        ),
        CameraSettings(
            source=f"old tower={here}/videos/tower.mp4",
            **{"detector": yolox, "min_score": 0.4, "rate": 10, "regions": Regions(least_box=24)},
        ),
    )
    common = {each.name: getattr(site, each.name) for each in fields(RunSettings)}
    defaults = {each.name: getattr(Session(sources=()), each.name) for each in fields(RunSettings)}
    assert common == {
        **defaults, "model": f"{here}/models/ours.json", "threads": 2, "embed": "every", "gallery": here / "known.db",
        "enrol_unknown": True, "index": "hnsw", "false_match_rate": 0.01, "threshold": 0.7, "new_below": 0.5,
        "most_new": 40, "least_quality": 0.2, "out": Path("/var/lib/vreid/live"), "to": ("mqtt://broker/north", "https://desk.example/secret"),
        "metrics": "9100", "metrics_host": ("gate.local",),
    }  # fmt: skip
    assert site.retain == 30 * 86400
    assert site.watch == (Watch("wanted", vehicle="blue van"), Watch(kind="truck", cameras=("gate",)))
    assert isinstance(site.topology, Layout) and site.topology.unlisted == "never" and len(site.topology.pair) == 1
    assert "word" not in repr(site) and "secret" not in repr(site)


def test_a_short_file_is_a_short_command_line(tmp_path: Path) -> None:
    """Nothing has a default of its own in the file."""
    path = tmp_path / "site.toml"
    path.write_text('[gallery]\nfile = "g.db"\n[outputs]\nfolder = "live"\n[camera.gate]\nuri = "rtsp://gate-1/"\n')
    session = Session(sources=["gate=rtsp://gate-1/"], gallery=tmp_path / "g.db", out=tmp_path / "live")
    assert read_site(path, {}) == site_of(session)
    path.write_text(path.read_text() + 'detector = "motion:?warm_up=9"\nmin_score = 0.3\n')
    assert read_site(path, {}) == site_of(replace(session, detector="motion:?warm_up=9", min_score=0.3))


def test_a_detector_may_be_a_public_model(tmp_path: Path) -> None:
    path, cache = tmp_path / "site.toml", tmp_path / "cache" / "vreid" / "models" / "yolox_nano"
    path.write_text(
        '[gallery]\nfile = "g.db"\n[outputs]\nfolder = "live"\n[camera.gate]\nuri = "rtsp://gate-1/"\n'
        'detector = "model:yolox_nano?every=2"\n'
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with pytest.raises(Refused, match="'detector': yolox_nano is not here yet; fetch it once: vreid get yolox_nano"):
        read_site(path, environment)
    cache.mkdir(parents=True)
    (cache / "yolox_nano.onnx").write_bytes(b"")
    assert read_site(path, environment).cameras[0].detector == f"model:{cache}/yolox_nano.onnx?every=2"
    (tmp_path / "yolox_nano").write_bytes(b"")  # a file of one's own goes before
    assert read_site(path, environment).cameras[0].detector == f"model:{tmp_path}/yolox_nano?every=2"


def test_sightings_may_be_kept_for_ever_and_ways_lie_in_a_file(written: Path) -> None:
    text = WHOLE.replace('"30d"', '"off"').partition("[topology]")[0]
    cameras = "[camera.gate]" + WHOLE.partition("[camera.gate]")[2]
    written.write_text('topology = "cameras.toml"\n' + text + cameras)
    site = read_site(written, SECRETS)
    assert site.retain == math.inf and site.topology == written.parent / "cameras.toml"


WRONG = {
    "a key that is not there": ("threads = 2", "thread = 2", "the file has no key 'thread'; did you mean 'threads'?"),
    "of a camera": ("rate = 2.5", "frame_rate = 2.5", "[camera.yard] has no key 'frame_rate'; did you mean 'rate'?"),
    "like nothing": (
        "rate = 2.5",
        "zzz = 2.5",
        "[camera.yard] has no key 'zzz'; the nearest is 'zones', and all are: detector, min_score, rate, least_box, keep, uri, "
        "uri_file, zones, masks",
    ),
    "of another table": (
        "threads = 2",
        "false_match_rate = 0.1",
        "the file has no key 'false_match_rate'; it belongs into [thresholds]",
    ),
    "of the top": (
        "rate = 2.5",
        'model = "x"',
        "[camera.yard] has no key 'model'; it belongs to the top of the file, above all tables",
    ),
    "of the watch list": (
        'vehicle = "blue van"',
        'vehicel = "blue van"',
        "the first [[watch]] has no key 'vehicel'; did you mean 'vehicle'?",
    ),
    "a kind that is none": (
        'kind = "truck"',
        'kind = "tram"',
        "the second [[watch]] has no kind 'tram'; write car, truck",
    ),
    "a camera that is none": (
        'cameras = ["gate"]',
        'cameras = ["gaet"]',
        "the watch 'kind truck' names a camera 'gaet' that the site does not have; did you mean 'gate'?",
    ),
    "nobody who gets alerts": ('to = ["mqtt', "to = [] #", "gives its alerts to outputs; name one with to = ["),
    "plates that nobody reads": (
        'vehicle = "blue van"',
        'plate = "B-*"',
        'a watch list with plates needs a reader of plates; give plates = "module:function"',
    ),
    "of the topology": ("least_s", "least", "the first [[topology.pair]] has no key 'least'; did you mean 'least_s'?"),
    "a text for a number": (
        "rate = 2.5",
        'rate = "2.5"',
        "'rate' in [camera.yard] should be a valid number, not '2.5'",
    ),
    "a number too large": (
        "threads = 2",
        "threads = 20000",
        "'threads' should be less than or equal to 1024, not 20000",
    ),
    "a choice": ('"every"', '"all"', "'embed' should be 'smart' or 'every', not 'all'"),
    "a missing key": (
        'folder = "/var/lib/vreid/live"',
        "",
        "[outputs] lacks 'folder' (for sightings.jsonl, report.html and report.json); add it",
    ),
    "a missing address": ('uri_file = "yard"', "", "[camera.yard] needs one of uri and uri_file"),
    "two addresses": ('uri_file = "yard"', 'uri_file = "yard"\nuri = "x"', "[camera.yard] has both uri and uri_file"),
    "an address that is not one": ('uri = "rtsp:', "uri = 7 #", "'uri' in [camera.gate] should be a valid string"),
    "a span": ('"30d"', '"3y"', "'retain' in [gallery]: '3y' is not a span of time; write it like 30d, 12h or 2w"),
    "retention that nobody writes": (
        "enrol_unknown = true",
        "",
        "[gallery] has retain, which needs a file and enrol_unknown = true; else the gallery is only read",
    ),
    "outside of the picture": (
        "[0.5, 0.2]",
        "[0.5, 1.2]",
        "'masks.trees[2][1]' in [camera.gate] should be less than or equal to 1, not 1.2",
    ),
    "three numbers": (
        "[0.5, 0.2]",
        "[0.5, 0.2, 0.3]",
        "'masks.trees[2]' in [camera.gate]: list should have at most 2 items after validation, not 3",
    ),
    "two corners": (
        ", [0.5, 0.2]]",
        "]",
        "'masks.trees' in [camera.gate]: has 2 corners, and a polygon has at least three",
    ),
    "crossing": (
        "zones.entry = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9],",
        "zones.entry = [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1],",
        "'zones.entry' in [camera.gate]: crosses itself: the edge from corner 1 and the one from corner 3 meet",
    ),
    "a camera's name": (
        "[camera.yard]",
        '[camera."a/b"]',
        '[camera."a/b"] a camera\'s name cannot hold any of / \\ : = + # * ? " < > | $; write letters, digits, blanks, '
        "'_', '.', '-'",
    ),
    "a pair with itself": ('"gate", "yard"', '"gate", "gate"', "[topology] pairs 'gate' with itself; name two cameras"),
    "a variable": (
        "${GATE}",
        "${GATE_WORD}",
        "[camera.gate]: the environment variable GATE_WORD is not set; set it, or write the address without ${GATE_WORD}",
    ),
    "a scheme": (
        '"videos/tower.mp4"',
        '"rtps://x/"',
        """[camera."old tower"]: there is no source of the kind 'rtps://'""",
    ),
    "a table": ("zones.entry =", "zones =", "'zones' in [camera.gate] should be a table, not [[0.1, 0.1], [0.9, 0.1]"),
    "TOML": (
        "[metrics]",
        "[metrics",
        " is not TOML (Expected ']' at the end of a table declaration (at line 33, column 9))",
    ),
}


@pytest.mark.parametrize(("good", "bad", "sentence"), WRONG.values(), ids=WRONG)
def test_a_fault_is_a_sentence(written: Path, good: str, bad: str, sentence: str) -> None:
    assert good in WHOLE
    written.write_text(WHOLE.replace(good, bad, 1))
    faults = site_and_faults(written, SECRETS)[1]
    assert len(faults) == 1 and faults[0].startswith(f"{written}") and sentence in faults[0] and "\n" not in faults[0]
    with pytest.raises(Refused) as refused:
        read_site(written, SECRETS)
    assert str(refused.value) == faults[0]
    assert "word@" not in faults[0] and "rtsp://viewer" not in faults[0]


def test_all_faults_come_at_once_and_a_run_names_the_first(written: Path) -> None:
    text = WHOLE
    kinds = ("of a camera", "a number too large", "a span", "crossing", "a variable", "a scheme")
    for kind in kinds:
        text = text.replace(*WRONG[kind][:2], 1)
    written.write_text(text)
    site, faults = site_and_faults(written, {"SITE": "x"})
    assert all(any(WRONG[kind][2] in fault for fault in faults) for kind in kinds) and len(faults) == len(kinds)
    assert site is not None and [camera.rate for camera in site.cameras] == [10]  # what is left, to look for more
    with pytest.raises(Refused, match=r"\(and 5 more: vreid site check .*site\.toml\)$"):
        read_site(written, {"SITE": "x"})


def test_faults_that_others_hid_come_with_them(written: Path) -> None:
    """A table is looked at as a whole only when each of its keys is right; a camera without an address has a detector too."""
    text = WHOLE
    for good, bad in (
        ('uri_file = "yard"', 'uri_file = "yard"\nuri = "x"'),
        ("rate = 2.5", 'rate = "2.5"'),
        ("enrol_unknown = true", "enrol_unknown = false"),
        ('index = "hnsw"', "index = 3"),
        ('cameras = ["gate"]', 'cameras = ["gatee"]'),
        ("${{GATE}}".replace("{{", "{").replace("}}", "}"), "${GATE_WORD}"),
        ("zones.entry", 'detector = "yolox:public:none"\nzones.entry'),
    ):
        assert good in text
        text = text.replace(good, bad, 1)
    written.write_text(text)
    faults = site_and_faults(written, SECRETS)[1]
    for sentence in (
        "[camera.yard] has both uri and uri_file",
        "'rate' in [camera.yard] should be a valid number",
        "'index' in [gallery] should be a valid string",
        "[gallery] has retain, which needs a file and enrol_unknown = true",
        "gatee",
        "GATE_WORD is not set",
    ):
        assert any(sentence in fault for fault in faults), (sentence, faults)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file has no table [gallery]; add it"),
        ("camera = {}", "the file names no camera; add [camera.NAME] with a uri"),
        ("gallery = 3", "'gallery' should be a table, not 3"),
        ("[camera]\ngate = 3", "'camera.gate' should be a table, not 3"),
    ],
)
def test_a_file_of_nothing(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    site, faults = site_and_faults(tmp_path / "site.toml", {})
    assert site is None and any(fault.endswith(sentence) for fault in faults)


def test_the_gallery_is_read_or_begun(written: Path) -> None:
    written.write_text(WHOLE.replace('file = "known.db"\nenrol_unknown = true', "").replace('retain = "30d"', ""))
    with pytest.raises(Refused, match="needs a file to search, or enrol_unknown = true to begin an empty gallery"):
        read_site(written, SECRETS)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_site(tmp_path / "none.toml", {})
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="it is not UTF-8"):
        read_site(tmp_path / "odd.toml", {})


def test_the_schema_of_the_documents_is_that_of_the_code(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "schema"]) == 0
    schema: dict[str, Any] = json.loads((root / "docs" / "site.schema.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == schema, "it is old: vreid site schema > docs/site.schema.json"
    assert set(schema["properties"]) == set(SiteFile.model_fields)
    assert schema["$defs"]["ThresholdTable"]["properties"]["false_match_rate"]["default"] == 0.05
    assert all("description" in each for each in schema["$defs"]["CameraTable"]["properties"].values())
