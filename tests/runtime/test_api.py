"""The Python interface: a model embeds, a gallery finds, tracking gives the ids of the gallery; errors have classes."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_detector import constant_graph

import vreid
from vreid.models.preprocess import Image
from vreid.runtime.camera_names import plain_name
from vreid.runtime.gallery.index.table import index_file
from vreid.runtime.public_models import MODELS

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def plain(colour: tuple[int, int, int]) -> Image:
    return np.full((30, 40, 3), colour, np.uint8)


@pytest.fixture(scope="module")
def model(colour_model: Path) -> vreid.Model:
    return vreid.load(colour_model)


def test_importing_loads_no_engine_and_every_name_is_there() -> None:
    program = (
        "import sys, vreid\n"
        "heavy = {'numpy', 'cv2', 'faiss', 'onnxruntime', 'torch', 'pydantic', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(getattr(vreid, name) is not None for name in vreid.__all__)\n"
        "assert set(vreid.__all__) <= set(dir(vreid))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        vreid.nothing  # noqa: B018


def test_a_bundled_model_gives_unit_features_of_paths_and_arrays(tmp_path: Path) -> None:
    model = vreid.load("vreid-s")
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    features = model.embed([picture, str(tmp_path / "a.png"), tmp_path / "a.png"])
    assert features.shape == (3, model.dim) and features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(features @ features.T, np.ones((3, 3)), atol=1e-5)
    assert model.embed([]).shape == (0, model.dim)
    np.testing.assert_allclose(model.embed(picture), features[:1], atol=1e-5)
    assert model.threshold == model.manifest.match.threshold if model.manifest.match else False


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        7,
        None,
    ],
    ids=["grey", "alpha", "float", "empty", "number", "none"],
)
def test_what_is_no_crop_is_bad_input(model: vreid.Model, crop: Any) -> None:
    with pytest.raises(vreid.BadInput, match="a crop is"):
        model.embed([crop])


@pytest.mark.parametrize("name", ["best.pt", "best.pth"])
def test_a_checkpoint_is_refused_with_the_way_to_lower_it(name: str) -> None:
    with pytest.raises(vreid.BadInput, match="vreid export"):
        vreid.load(name)


def test_a_gallery_finds_what_was_enrolled(tmp_path: Path, model: vreid.Model) -> None:
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        red = gallery.enrol("taxi", [plain(RED), plain((0, 30, 255))], kind="car")
        green = gallery.enrol("tram", plain(GREEN), kind="bus")
        hits = gallery.search(plain(RED))
        assert [(hit.name, hit.vehicle, hit.known) for hit in hits] == [("taxi", red, True), ("tram", green, False)]
        assert 1 > hits[0].score > 0.99 > hits[1].score  # the mean of two shades of red
        assert [hit.name for hit in gallery.search(plain(RED), kind="bus")] == ["tram"]
        assert len(gallery.search(plain(RED), k=1)) == 1
        assert gallery.search(plain(RED), kind="truck") == []
    with vreid.Gallery(tmp_path / "known.db", model, "r", threshold=-1) as gallery:
        assert [vehicle.name for vehicle in gallery.vehicles()] == ["taxi", "tram"]
        assert all(hit.known for hit in gallery.search(plain(BLUE)))
        with pytest.raises(vreid.Refused, match="opened for reading"):
            gallery.remove("taxi")
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        index_file(tmp_path / "known.db", "hnsw").touch()  # as another program keeps it, with features
        gallery.remove("taxi")
        assert [hit.name for hit in gallery.search(plain(RED))] == ["tram"]
    assert not index_file(tmp_path / "known.db", "hnsw").exists()


def test_a_vehicle_is_enrolled_whole_or_not_at_all(tmp_path: Path, model: vreid.Model) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        for crops in ([], [plain(RED), str(tmp_path / "broken.jpg")], [plain(RED), str(tmp_path / "missing.jpg")]):
            with pytest.raises(vreid.Refused):
                gallery.enrol("taxi", crops)
        gallery.enrol("Taxi", plain(RED))
        with pytest.raises(vreid.Refused, match="taxi"):
            gallery.enrol("taxi", plain(RED))
        with pytest.raises(vreid.BadInput, match="one crop"):
            gallery.search([plain(RED), plain(BLUE)])  # type: ignore[arg-type]
        assert [vehicle.prototypes for vehicle in gallery.vehicles()] == [1]


def test_what_a_program_must_distinguish_has_a_class(tmp_path: Path, model: vreid.Model) -> None:
    file = tmp_path / "known.db"
    with vreid.Gallery(file, model) as gallery:
        gallery.enrol("taxi", plain(RED))
        with pytest.raises(vreid.GalleryLocked):
            vreid.Gallery(file, model)
    with pytest.raises(vreid.WrongModel):
        vreid.Gallery(file, vreid.load("vreid-s"))
    with pytest.raises(vreid.BadInput, match="'a' or 'r'"):
        vreid.Gallery(file, model, "w")  # type: ignore[arg-type]
    with pytest.raises(vreid.BadInput, match="-1 to 1"):
        vreid.Gallery(file, model, threshold=2)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(vreid.GalleryDamaged):
        vreid.Gallery(file, model, "r")
    for kind in (vreid.GalleryLocked, vreid.GalleryDamaged, vreid.WrongModel, vreid.MissingExtra, vreid.BadInput):
        assert issubclass(kind, vreid.Refused) and issubclass(kind, vreid.VreidError)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from vreid.models.seam import open_seam

    with pytest.raises(vreid.MissingExtra, match="no_such_package"):
        monkeypatch.setitem(sys.modules, "no_such_package", None)
        open_seam("engine", {"odd": "no_such_package:opened"}, "odd")


# Tracking


@pytest.fixture
def videos(tmp_path: Path, film: Callable[..., Path]) -> list[Path]:
    return [
        film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)]),
        film(tmp_path / "two.avi", [(GREEN, 0, 20), (RED, 10, 60)]),
    ]


def test_vehicles_keep_their_ids_over_cameras(videos: list[Path], model: vreid.Model) -> None:
    found = list(vreid.track(videos, model))
    assert sorted(sighting.camera for sighting in found) == ["one", "one", "two", "two"]
    by_colour = {int(sighting.feature.argmax()): set[int | None]() for sighting in found}
    for sighting in found:
        by_colour[int(sighting.feature.argmax())].add(sighting.vehicle)
        assert sighting.boxes.shape == (len(sighting.frames), 4) and sighting.picture.dtype == np.uint8
        assert sighting.first_time < sighting.last_time
    assert [len(vehicles) for vehicles in by_colour.values()] == [1, 1]
    assert len({sighting.vehicle for sighting in found}) == 2


def test_a_gallery_names_them_and_writes_them_down(tmp_path: Path, videos: list[Path], model: vreid.Model) -> None:
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        gallery.enrol("taxi", plain(RED))
        found = list(vreid.track(videos[0], model, gallery))
        assert sorted((sighting.name or "-", sighting.known) for sighting in found) == [("-", False), ("taxi", True)]
        assert [(one.name, one.sightings) for one in gallery.vehicles()] == [("taxi", 1)]
        list(vreid.track(videos[1], model, gallery, enrol_unknown=True))
        assert [one.sightings for one in gallery.vehicles()] == [2, 1]
    with vreid.Gallery(tmp_path / "known.db", model, "r") as gallery:
        assert all(sighting.known for sighting in vreid.track(videos, model, gallery))
        with pytest.raises(vreid.Refused, match="opened for reading"):
            next(vreid.track(videos, model, gallery, enrol_unknown=True))


def test_a_run_that_fails_leaves_the_gallery_as_it_was(tmp_path: Path, videos: list[Path], model: vreid.Model) -> None:
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        with pytest.raises(vreid.Refused, match="no vehicle was found"):
            list(vreid.track(videos[0], model, gallery, f"replay:{_no_boxes(tmp_path)}", enrol_unknown=True))
        assert gallery.vehicles() == []
        with pytest.raises(vreid.WrongModel, match="same model"):
            vreid.track(videos[0], vreid.load("vreid-s"), gallery)
    with pytest.raises(vreid.BadInput, match="nothing to watch"):
        vreid.track([], model)
    with pytest.raises(vreid.Refused, match=r"missing\.mp4"):
        next(vreid.track(tmp_path / "missing.mp4", model))


def _no_boxes(folder: Path) -> Path:
    file = folder / "empty.txt"
    file.write_text("")
    return file


def test_a_live_camera_gives_sightings_until_the_loop_is_left(
    videos: list[Path], model: vreid.Model, device: Callable[[Path], str]
) -> None:
    before = threading.active_count()
    running = vreid.track(device(videos[0]), model)
    found = [next(running) for _ in range(3)]
    assert all(sighting.vehicle is not None for sighting in found)
    running.close()
    assert threading.active_count() == before


def test_a_detector_by_the_name_of_a_public_model(
    tmp_path: Path, videos: list[Path], model: vreid.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(vreid.Refused, match="yolox_nano is not here yet; fetch it once: vreid get yolox_nano"):
        vreid.track(videos[0], model, detector="model:yolox_nano")
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 16, 8, 40, 32, 0.9, 2  # one car in every picture, which is stretched to 64 x 64
    folder = tmp_path / "cache" / "vreid" / "models" / "yolox_nano"
    folder.mkdir(parents=True)
    constant_graph(folder / MODELS["yolox_nano"].files[0].name, {"output": rows})
    found = list(vreid.track(videos[0], model, detector="model:yolox_nano"))
    assert [(one.kind, len(one.frames)) for one in found] == [("car", 50)]


def test_a_path_is_a_file_also_where_its_text_would_be_an_address(
    videos: list[Path], model: vreid.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos[0].parent)
    for name in ("gate=two.avi", "0"):
        videos[0].replace(name)
        found = list(vreid.track(Path(name), model))
        assert len(found) == 2 and {sighting.camera for sighting in found} == {plain_name(Path(name).stem)}
        assert found[0] in set(found) and found[0] != found[1]
        Path(name).replace(videos[0])


def test_what_the_file_system_refuses_is_refused(
    tmp_path: Path, videos: list[Path], model: vreid.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(vreid.Refused, match="a folder, a pipe or a device"):
        vreid.Gallery(tmp_path / "folder.db", model)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(vreid.Refused, match=r"cannot use .*check the path"):
        next(vreid.track(videos[0], model))


def test_a_wrong_choice_is_bad_input(tmp_path: Path, videos: list[Path], model: vreid.Model) -> None:
    with vreid.Gallery(tmp_path / "known.db", model) as gallery:
        with pytest.raises(vreid.BadInput, match="'car' or 'truck'"):
            gallery.enrol("taxi", plain(RED), "Car")  # type: ignore[arg-type]
        with pytest.raises(vreid.BadInput, match="or 'vehicle'"):
            gallery.search(plain(RED), kind="lorry")  # type: ignore[arg-type]
    with pytest.raises(vreid.BadInput, match="a crop is"):
        model.embed(memoryview(plain(RED)))  # type: ignore[arg-type]
    for threads in (0, 10**9):
        with pytest.raises(vreid.BadInput, match=r"^threads must be at least 1 and at most 1024"):
            vreid.load("vreid-s", threads)
        with pytest.raises(vreid.BadInput, match=r"^threads must"):
            vreid.track(videos[0], model, threads=threads)
    with pytest.raises(vreid.BadInput, match="enrol_unknown=False needs a gallery"):
        vreid.track(videos[0], model, enrol_unknown=False)
