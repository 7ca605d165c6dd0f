"""`--blur module:function`: which functions are taken, and that nothing is shown where one fails."""

from typing import Any

import cv2
import numpy as np
import pytest
from made_site import API, MadeSite, served_here

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.serve import blurring
from vreid.serve.blurring import BlurFailed, BlurredPictures, blur_function

PICTURE = np.full((20, 30, 3), 200, np.uint8)


def dark(picture: Any) -> Any:
    picture[:] = 0  # its own copy
    return picture


def smaller(picture: Any) -> Any:
    return picture[::2]


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of this file, in a module that can be imported."""
    monkeypatch.setattr(blurring, "dark", dark, raising=False)
    monkeypatch.setattr(blurring, "smaller", smaller, raising=False)


def test_a_function_gets_a_copy_and_returns_a_picture_of_the_same_shape() -> None:
    assert not blur_function("vreid.serve.blurring:dark")(PICTURE).any() and PICTURE.all()
    with pytest.raises(BlurFailed, match="smaller"):
        blur_function("vreid.serve.blurring:smaller")(PICTURE)


@pytest.mark.parametrize(
    "name", ["nowhere:f", "vreid.serve.blurring:nothing", "vreid.serve.blurring:_KEPT", "", ":", "."]
)
def test_what_is_not_a_function_is_refused(open_site: MadeSite, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused, match="--blur module:function"):
        blur_function(name)
    words = ["--gallery", str(open_site.gallery), "--model", "vreid-s", "--port", "0", "--blur", name]
    assert main(["serve", "run", *words]) == 2
    assert "--blur" in capsys.readouterr().err


def test_a_picture_is_blurred_once_as_long_as_it_is_remembered() -> None:
    calls = []

    def counted(picture: Any) -> Any:
        calls.append(picture.shape)
        return picture * 0

    pictures = BlurredPictures(counted)
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    assert pictures.shown(jpeg) == pictures.shown(jpeg) != jpeg
    assert calls == [PICTURE.shape]
    assert BlurredPictures().shown(jpeg) is jpeg


def test_where_the_function_fails_nothing_is_shown(made_site: MadeSite) -> None:
    blur = blur_function("vreid.serve.blurring:smaller")
    with served_here(made_site, blur=blur) as server, server.client("look") as client:
        for path in ("/sightings/1/picture", "/vehicles/1/picture", "/cameras/gate/picture"):
            answer = client.get(API + path)
            assert answer.status_code == 500 and answer.headers["content-type"] == "application/problem+json", path
        assert client.get(f"{API}/sightings/1").status_code == 200
