"""A wrong argument of the Python interface is BadInput in a sentence that names it; numbers of NumPy are numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vreid
from vreid.models.preprocess import Image

CROP: Image = np.full((30, 40, 3), (0, 0, 255), np.uint8)


@pytest.fixture(scope="module")
def model(colour_model: Path) -> vreid.Model:
    return vreid.load(colour_model)


@pytest.fixture
def gallery(tmp_path: Path, model: vreid.Model) -> Iterator[Any]:
    with vreid.Gallery(tmp_path / "g.db", model) as opened:
        opened.enrol("taxi", CROP, kind="car")
        yield opened


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vreid.load(5), "model must be a text or a path, not 5"),
        (lambda: vreid.load(b"vreid-s"), "model must be a text or a path, not bytes"),
        (lambda: vreid.load("a\0b"), "model must be text without NUL"),
        (lambda: vreid.load("a" * 300), "model is longer than a path can be: a"),
        (lambda: vreid.load("a/" * 3000), "model is longer"),
        (lambda: vreid.load("\ud800"), "lone surrogates"),
        (lambda: vreid.load("vreid-s", 1.5), "threads must be a whole number, not 1.5"),
        (lambda: vreid.load("vreid-s", True), "threads must be a whole number, not True"),
        (lambda: vreid.load("vreid-s", 0), "at least 1"),
        (lambda: vreid.track("a.mp4", 5), "model must be a vreid.Model or a text or a path, not 5"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(vreid.BadInput, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.embed(None), "a crop is"),
        (lambda m: m.embed(7), "a crop is"),
        (lambda m: m.embed(b"car.jpg"), "a crop is"),
        (lambda m: m.embed("a\0b.jpg"), "NUL"),
        (lambda m: m.embed(CROP[..., 0]), r"\(H, W, 3\) in BGR order, not uint8 of shape \(30, 40\)"),
        (lambda m: m.embed(CROP.astype(np.float32)), "not float32 of shape"),
        (lambda m: m.embed(CROP[None, None]), r"not uint8 of shape \(1, 1, 30, 40, 3\)"),
        (lambda m: vreid.Gallery("g.db", None), "model must be a vreid.Model or a text or a path, not None"),
        (lambda m: vreid.Gallery(5, m), "path must be a text or a path, not 5"),
        (lambda m: vreid.Gallery("a\0b", m), "NUL"),
        (lambda m: vreid.Gallery("a" * 300, m), "path is longer"),
        (lambda m: m.embed("a" * 300), "a crop is longer"),
        (lambda m: vreid.Gallery("g.db", m, "w"), "mode must be 'a' or 'r', not 'w'"),
        (lambda m: vreid.Gallery("g.db", m, ["a"]), "mode must be"),
        (lambda m: vreid.Gallery("g.db", m, threshold="x"), "threshold must be a number or None, not 'x'"),
        (lambda m: vreid.Gallery("g.db", m, threshold=float("nan")), "-1 to 1"),
        (lambda m: vreid.Gallery("g.db", m, index=3), "index must be a text"),
        (lambda m: vreid.track(5, m), "sources must be"),
        (lambda m: vreid.track(["a.mp4", 5], m), "sources must be"),
        (lambda m: vreid.track("a.mp4", m, "g.db"), "gallery must be a vreid.Gallery or None"),
        (lambda m: vreid.track("a.mp4", m, None, 3), "detector must be a text"),
        (lambda m: vreid.track("a.mp4", m, embed="none"), "embed must be 'smart' or 'every', not 'none'"),
        (lambda m: vreid.track("a.mp4", m, began="today"), "began must be a datetime or None"),
        (lambda m: vreid.track("a.mp4", m, enrol_unknown="yes"), "enrol_unknown must be True or False or None"),
        (lambda m: vreid.track("a.mp4", m, topology=3), "topology must be"),
        (lambda m: vreid.track("a.mp4", m, threads="2"), "threads must be a whole number"),
    ],
)
def test_a_wrong_argument_with_a_model_is_named(
    model: vreid.Model, call: Callable[[vreid.Model], object], words: str
) -> None:
    with pytest.raises(vreid.BadInput, match=words):
        call(model)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.enrol(5, CROP), "name must be a text, not 5"),
        (lambda g: g.enrol("b", CROP, kind=["car"]), "kind must be 'car' or .*, not list"),
        (lambda g: g.enrol("b", None), "a crop is"),
        (lambda g: g.search(CROP, k="x"), "k must be a whole number, not 'x'"),
        (lambda g: g.search(CROP, k=2.5), "k must be a whole number, not 2.5"),
        (lambda g: g.search(CROP, kind=["car"]), "kind must be 'car' or 'truck'"),
        (lambda g: g.search(CROP, k=0), "k must be at least 1"),
        (lambda g: g.remove(1), "name must be a text, not 1"),
    ],
)
def test_a_gallery_takes_no_wrong_argument(gallery: Any, call: Callable[[Any], object], words: str) -> None:
    with pytest.raises(vreid.Refused, match=words):
        call(gallery)
    assert [vehicle.name for vehicle in gallery.vehicles()] == ["taxi"]


def test_a_path_in_place_of_a_model_is_loaded(tmp_path: Path, colour_model: Path) -> None:
    with vreid.Gallery(tmp_path / "g.db", colour_model) as opened:
        opened.enrol("taxi", CROP)
        assert opened.model.name == vreid.load(colour_model).name
        assert [hit.name for hit in opened.search(CROP)] == ["taxi"]
    with pytest.raises(vreid.Refused, match=r"no\.mp4"):
        list(vreid.track(tmp_path / "no.mp4", str(colour_model)))


def test_numbers_of_numpy_are_numbers(gallery: Any, tmp_path: Path, model: vreid.Model) -> None:
    assert len(gallery.search(CROP, k=np.int64(3))) == 1
    gallery.close()
    with vreid.Gallery(tmp_path / "g.db", model, "r", threshold=np.float32(0.5)) as again:  # type: ignore[arg-type]
        assert again.threshold == 0.5 and type(again.threshold) is float
