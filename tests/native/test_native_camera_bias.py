"""A gallery with what a run has learnt of its cameras' bias: C++ scores as Python does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_gallery import DIM, features, opened

from vreid.models.errors import Refused
from vreid.models.manifest import Match
from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.gallery.records import ENROLLED
from vreid.runtime.records import Floats
from vreid.runtime.site_evidence import BiasGain, Evidence
from vreid.runtime.site_threshold import SiteThreshold

Drive = Callable[[], Any]  # see conftest.py
POINT = Match(threshold=0.6, false_match_rate=0.05, gallery=20)
CAMERAS = ("gate", "yard", "ramp", ENROLLED)
RAW = BiasGain(0.05, 12, 9, 8, 0, 0, 0)


def bias_of(*cameras: str) -> CameraBias:
    """Of cameras of different light, each of which has seen other numbers of tracks."""
    bias = CameraBias()
    for place, camera in enumerate(cameras):
        for row in features(10 + 7 * place, 50 + place):
            lit = row + 1.5 * np.eye(DIM, dtype=np.float32)[place]
            bias.add(camera, np.asarray(lit / np.linalg.norm(lit), np.float32))
    return bias


def filled(path: Path, kept: str | None) -> list[int]:
    with opened(path) as gallery, gallery.transaction():
        vehicles = [gallery.add_vehicle() for _ in range(6)]
        for number, row in enumerate(features(24, 1)):
            gallery.add_prototype(vehicles[number % 5], CAMERAS[number % 4], row)  # the last one has none
        gallery.keep_site_threshold(kept)
    return vehicles


def by_python(path: Path, camera: str, row: Floats, vehicles: list[int]) -> Floats:
    with opened(path, write=False) as gallery:
        rule = SiteThreshold(POINT, kept=gallery.site_threshold(), dim=DIM)
        scores = gallery.scores(
            row[None], vehicles, lambda rows, others, views, _: rule.compare(rows, [camera], others, views, 1)
        )
    return scores.cosines[0]


@pytest.mark.parametrize(
    ("kept", "is_taken_off"),
    [
        (Evidence(bias=bias_of("gate", "yard", "ramp")).as_text(), True),
        (Evidence(bias=bias_of("gate", "yard"), gain=BiasGain(0.05, 12, 9, 9, 2, 1, 0)).as_text(), True),
        (Evidence(bias=bias_of("gate", "yard", "ramp"), gain=RAW).as_text(), False),
        (Evidence(bias=bias_of("gate")).as_text(), False),
        (Evidence(frozen=True).as_text(), False),
        (None, False),
    ],
)
def test_both_score_alike(drive: Drive, tmp_path: Path, kept: str | None, is_taken_off: bool) -> None:
    path = tmp_path / "g.db"
    vehicles = filled(path, kept)
    driver = drive()
    driver.call("read", path=str(path))
    for camera, row in zip((*CAMERAS, "elsewhere"), features(5, 9), strict=True):
        found = driver.call("scores_without_bias", feature=row.tolist(), camera=camera, vehicles=vehicles)
        plain = driver.call("scores", features=row.tolist(), vehicles=vehicles)
        np.testing.assert_allclose(found, by_python(path, camera, row, vehicles), rtol=0, atol=1e-6)
        assert (np.abs(np.subtract(found, plain)).max() > 1e-3) == is_taken_off


@pytest.mark.parametrize("spoil", ["", "[]", '{"version": 2}', "mean", "tracks", "bias_gain"])
def test_both_refuse_what_is_damaged(drive: Drive, tmp_path: Path, spoil: str) -> None:
    path, data = tmp_path / "g.db", json.loads(Evidence(bias=bias_of("gate", "yard"), gain=RAW).as_text())
    if spoil in ("mean", "tracks"):
        data["cameras"][1][spoil] = "!" if spoil == "mean" else -1
    elif spoil == "bias_gain":
        data[spoil] = {}
    filled(path, json.dumps(data) if spoil in ("mean", "tracks", "bias_gain") else spoil)
    driver, row = drive(), features(1)[0]
    driver.call("read", path=str(path))
    with pytest.raises(Refused, match=r"this site's threshold is damaged .*--reset"):
        driver.call("scores_without_bias", feature=row.tolist(), camera="gate", vehicles=[1])
    with pytest.raises(Refused, match=r"this site's threshold is damaged .*--reset"):
        by_python(path, "gate", row, [1])
