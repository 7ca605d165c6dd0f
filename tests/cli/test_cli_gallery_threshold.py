"""`vreid gallery threshold`: what a site has shown, by pair of cameras; frozen, learnt again, forgotten; each in the audit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_verbs import document, refused

from vreid.cli.main import main
from vreid.models.manifest import Match, read_manifest
from vreid.runtime.gallery import edit_gallery, open_gallery, read_gallery
from vreid.runtime.records import FinishedTrack, Trace
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.topology import CameraPair, Layout, Topology


@pytest.fixture
def known(tmp_path: Path, tiny_model: Path) -> Path:
    """A gallery of three vehicles whose site has shown 40 pairs of strangers of one camera and 3 of two cameras."""
    manifest = read_manifest(tiny_model)
    dim, rng = manifest.output.dim, np.random.default_rng(0)
    rule = SiteThreshold(
        Match(threshold=0.6, false_match_rate=0.05, gallery=20),
        topology=Topology(Layout(pair=(CameraPair(cameras=("gate", "yard"), least_s=5.0),))),
    )
    for number in range(80):
        camera = "yard" if number in (1, 3, 5) else "gate"
        first = 60.0 * (number // 2)
        row = rng.normal(size=dim) + 1
        frames = np.arange(10)
        boxes = np.tile(np.array([100.0 * (number % 2), 0, 100 * (number % 2) + 50, 40], np.float32), (10, 1))
        feature = np.asarray(row / np.linalg.norm(row), np.float32)
        track = FinishedTrack(camera, number, 0, 9, first, first + 1, 2, feature, 3, 0.5, np.zeros((4, 4, 3), np.uint8))
        rule.observe(track, Trace(frames, boxes, np.ones(10, np.float32)))
    path = tmp_path / "known.db"
    with open_gallery(path, fingerprint=manifest.fingerprint, dim=dim, model=manifest.name, write=True) as gallery:
        for _ in range(3):
            gallery.add_vehicle()
        gallery.keep_site_threshold(rule.as_json())
    return path


def changes(path: Path) -> list[tuple[str, Any]]:
    with read_gallery(path) as gallery:
        return [(one.verb, one.detail) for one in gallery.changes() if one.verb.endswith("threshold")]


def test_the_thresholds_stand_by_pair_of_cameras(
    known: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", known, "--model", tiny_model)
    found = document(capsys, "threshold", *where)
    match = read_manifest(tiny_model).match
    assert (found["vehicles"], found["compared"], found["calibrated"], found["false_match_rate"]) == (
        3,
        3,
        "site",
        0.05,
    )
    assert found["manifest"]["threshold"] == (0.6 if match is None else match.threshold)
    assert [(pair["cameras"], pair["pairs"], pair["tracks"], pair["calibrated"]) for pair in found["cameras"]] == [
        (["gate", "gate"], 37, 74, "site (37 pairs)"),
        (["gate", "yard"], 3, 6, "manifest and site (3 pairs)"),
    ]
    stricter = document(capsys, "threshold", *where, "--false-match-rate", 0.001)
    assert all(
        one["threshold"] < other["threshold"] for one, other in zip(found["cameras"], stricter["cameras"], strict=True)
    )
    assert main(["gallery", "threshold", *map(str, where)]) == 0
    printed = capsys.readouterr().out
    for part in ("gate and yard", "manifest and site", "at most 5 % of the new vehicles", "compared with 3 vehicles",
                 "Few strangers were seen by gate and yard"):  # fmt: skip
        assert part in printed
    assert changes(known) == []


def test_the_page_has_a_curve_for_each_pair(
    known: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "site.html"
    done = document(capsys, "threshold", "--gallery", known, "--model", tiny_model, "--html", page)
    assert done["html"] == str(page)
    text = page.read_text()
    assert text.count("<polyline") == 2 and text.count("<figure") == 2 and "3 vehicles" in text
    assert "would replace" in refused(capsys, "threshold", "--gallery", known, "--model", tiny_model, "--html", known)


def test_it_is_frozen_learnt_again_and_forgotten(
    known: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", known)
    with read_gallery(known) as gallery:
        before = json.loads(str(gallery.site_threshold()))
    for flag, done in (("--freeze", True), ("--freeze", False)):
        assert document(capsys, "threshold", *where, flag)["done"] is done
    assert document(capsys, "threshold", *where, "--model", tiny_model)["calibrated"] == "frozen"
    with read_gallery(known) as gallery:
        assert json.loads(str(gallery.site_threshold())) == {**before, "frozen": True}
    for flag, done in (("--unfreeze", True), ("--unfreeze", False)):
        assert document(capsys, "threshold", *where, flag)["done"] is done
    with read_gallery(known) as gallery:
        assert json.loads(str(gallery.site_threshold())) == before
    for done in (True, False):
        assert document(capsys, "threshold", *where, "--reset")["done"] is done
    with read_gallery(known) as gallery:
        assert gallery.site_threshold() is None
    assert changes(known) == [
        ("freeze threshold", {"pairs of cameras": 2}),
        ("unfreeze threshold", {"pairs of cameras": 2}),
        ("forget threshold", {}),
    ]
    assert "no certain strangers" in " ".join(sentences(capsys, known, tiny_model)).lower()
    assert document(capsys, "threshold", *where, "--freeze")["done"] is True  # the manifest's, for good
    assert document(capsys, "threshold", *where, "--model", tiny_model)["calibrated"] == "frozen"


def sentences(capsys: pytest.CaptureFixture[str], path: Path, model: Path) -> list[str]:
    assert main(["gallery", "threshold", "--gallery", str(path), "--model", str(model)]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_is_damaged_is_refused_and_can_be_forgotten(
    known: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with edit_gallery(known) as gallery:
        gallery.keep_site_threshold("{")
    for flags in (("--model", tiny_model), ("--freeze",)):
        assert "is damaged" in (said := refused(capsys, "threshold", "--gallery", known, *flags))
        assert "vreid gallery threshold --reset" in said
    assert document(capsys, "threshold", "--gallery", known, "--reset")["done"] is True
    assert document(capsys, "threshold", "--gallery", known, "--model", tiny_model)["cameras"] == []


def test_requests_that_are_wrong(known: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--gallery", known)
    assert "cannot both be done" in refused(capsys, "threshold", *where, "--freeze", "--reset")
    assert "--html shows" in refused(capsys, "threshold", *where, "--freeze", "--html", "page.html")
    assert "give its manifest with --model" in refused(capsys, "threshold", *where)
    assert "holds features of the model" in refused(capsys, "threshold", *where, "--model", "vreid-s")
    assert "false-match rate" in refused(capsys, "threshold", *where, "--model", tiny_model, "--false-match-rate", 1.5)


def test_a_bundled_model_is_known_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vreid.models.zoo import manifest_path

    manifest, path = read_manifest(manifest_path("vreid-s")), tmp_path / "g.db"
    with open_gallery(
        path, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model="vreid-s", write=True
    ) as gallery:
        gallery.add_vehicle("taxi")
    found = document(capsys, "threshold", "--gallery", path)
    assert manifest.match is not None and found["manifest"]["threshold"] == manifest.match.threshold
