"""A site drawn: its areas lie where the polygons are, a camera that is away gets a grey picture, and all have names."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.report.formats import colour_of
from vreid.runtime.regions import within
from vreid.runtime.session import Regions
from vreid.runtime.site.draw import drawn_regions

TRIANGLE = ((0.5, 0.2), (0.9, 0.9), (0.1, 0.9))


def shares(image: np.ndarray) -> np.ndarray:
    """(H * W, 2) the middle of each pixel, in shares."""
    rows, columns = np.indices(image.shape[:2])
    return np.stack([(columns.ravel() + 0.5) / image.shape[1], (rows.ravel() + 0.5) / image.shape[0]], axis=1)


@pytest.mark.parametrize("kind", ["zones", "masks"])
def test_an_area_is_drawn_where_it_counts(kind: str) -> None:
    image = np.full((300, 400, 3), 200, np.uint8)
    before = image.copy()
    drawn = drawn_regions(image, Regions(**{kind: {"": TRIANGLE}}))  # type: ignore[arg-type]
    assert np.array_equal(image, before)
    changed = (drawn != 200).any(axis=2)
    inside = within(shares(image), TRIANGLE).reshape(300, 400)
    rim = np.ones((9, 9), np.uint8)  # half of the outline's width and more
    surely, maybe = (np.asarray(step(inside.astype(np.uint8), rim), np.bool_) for step in (cv2.erode, cv2.dilate))
    maybe[:110, :150] = True  # where the name stands
    assert changed[surely].all() and not changed[~maybe].any()
    middle = drawn[230, 200].astype(int)
    if kind == "zones":
        assert np.abs(middle - (0.7 * 200 + 0.3 * np.array(colour_of(1)[::-1]))).max() <= 1
    else:
        assert (drawn[200:260, 180:220] <= 100).all()


def test_zones_have_colours_of_their_own_and_the_least_box_its_size() -> None:
    image = np.full((300, 400, 3), 90, np.uint8)
    halves = {"a": ((0, 0), (0.4, 0), (0.4, 0.5), (0, 0.5)), "b": ((0.5, 0), (1, 0), (1, 0.5), (0.5, 0.5))}
    drawn = drawn_regions(image, Regions(zones=halves, least_box=40))
    assert tuple(drawn[100, 80]) != tuple(drawn[100, 300])
    white = np.argwhere((drawn[200:, :49] == 255).all(axis=2))
    assert np.ptp(white[:, 0]) == np.ptp(white[:, 1]) == 40


def test_every_camera_gets_a_picture(tmp_path: Path, film: Any, capsys: pytest.CaptureFixture[str]) -> None:
    film(tmp_path / "one.avi", [])
    (tmp_path / "site.toml").write_text(
        '[gallery]\nenrol_unknown = true\n[outputs]\nfolder = "out"\n[camera.here]\nuri = "one.avi"\n'
        "zones.all = [[0, 0], [1, 0], [1, 1], [0, 1]]\n"
        '[camera.away]\nuri = "none.avi"\nmasks.half = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\n'
    )
    assert main(["site", "draw", str(tmp_path / "site.toml"), "--out", str(tmp_path / "look")]) == 0
    said = capsys.readouterr()
    assert "away is drawn into a grey picture: " in said.err and "none.avi" in said.err.replace("\n", "")
    assert "2 pictures are in " in said.out
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["away.jpg", "here.jpg"]
    here, away = (cv2.imread(str(tmp_path / "look" / f"{name}.jpg")) for name in ("here", "away"))
    assert here is not None and away is not None
    assert here.shape == (120, 160, 3) and away.shape == (540, 960, 3)
    assert np.abs(away[400, 800].astype(int) - 96).max() <= 4 and (away[400:440, 200:240] < 70).all()
