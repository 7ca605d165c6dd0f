"""The gate lets sound lowerings of a trained network pass and catches every planted fault, each by what is wrong with it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
from shape_network import CAMERAS, LEARNT, PICTURES, drawn, trained

from vreid.deploy.compare import agreement, nearest_vehicles, number_faults, unit_rows
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.settings import Bounds
from vreid.deploy.verify import LEAST_COSINES, Verification, record, verify, verify_page
from vreid.models.checkpoint import save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import read_manifest, write_manifest
from vreid.models.picture import read_picture
from vreid.models.preprocess import batch_of
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Embedded

VEHICLES = 30


def set_of(folder: Path, vehicles: range) -> Dataset:
    """The vehicles' pictures under two cameras; every picture is a query, and a training picture too."""
    folder.mkdir()
    rows = ["path,vehicle,camera"]
    for vehicle in vehicles:
        for camera, picture in np.ndindex(CAMERAS, PICTURES):
            name = f"{vehicle}_{camera}_{picture}.png"
            cv2.imwrite(str(folder / name), drawn(vehicle, camera, picture))
            rows.append(f"{name},{vehicle},c{camera}")
    (folder / "shapes.csv").write_text("\n".join(rows) + "\n")
    return read_dataset(folder)


class Bench:
    """A trained network, exported; pictures to judge on and to calibrate on; and the planting of bench/faults.py."""

    def __init__(self, folder: Path, faults: ModuleType) -> None:
        self.folder, self.faults = folder, faults
        self.checkpoint, self.source = folder / "best.pt", folder / "sound.json"
        save_checkpoint(trained(), self.checkpoint)
        onnx_from_checkpoint(self.checkpoint, self.source.with_suffix(".onnx"))
        self.data = set_of(folder / "asked", range(1000, 1000 + VEHICLES))
        learnt = set_of(folder / "learnt", range(LEARNT))
        images = [read_picture(item.path) for item in learnt.train]
        self.batches = [batch_of(images[start : start + 16], 32, 32) for start in range(0, 128, 16)]

    def planted(self, name: str) -> Path:
        fault = {**self.faults.FAULTS, **self.faults.SOUND, **self.faults.OPEN}[name]
        graph = onnx.load(str(self.source.with_suffix(".onnx")))
        short = "".join(letter for letter in name if letter.isalnum())
        path: Path = self.faults.planted(fault, read_manifest(self.source), graph, self.batches, self.folder, short)
        return path

    def verification(self, path: Path, bounds: Bounds | None = None, against: Path | None = None) -> Verification:
        return verify(path, str(against or self.checkpoint), self.data, bounds or Bounds())


@pytest.fixture(scope="module")
def bench(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """bench/ is no package: its scripts find each other as they do when one of them is run."""
    sys.path.insert(0, str(root / "bench"))
    yield Bench(tmp_path_factory.mktemp("verify"), importlib.import_module("faults"))
    sys.path.remove(str(root / "bench"))


# what must be said of each; a fault may be wrong in more ways than one
CAUGHT = {
    "RGB and BGR swapped": ["colour order"],
    "mean and std twice": ["mean and std", "points of mAP are lost"],
    "nearest-neighbour resize": ["the resize"],
    "INT8 calibrated on noise": ["points of mAP are lost"],
    "INT8 calibrated on black": ["pictures that INT8 was calibrated on", "points of mAP are lost"],
    "one bit flipped, sha256 rewritten": ["damaged weights", "points of mAP are lost"],
    "FP16 overflow in the norm": ["keep the norm in FP32"],
    "one dimension lost": ["1 of 24 dimensions (such as 3) hardly change"],
    "another checkpoint": ["is an engine of another checkpoint", "do not compute the same"],
    "another checkpoint, fingerprint forged": ["do not compute the same"],
    "FP32 that claims FP16": ["claims fp16 and the ONNX computes in fp32"],
    "FP32 that claims INT8": ["claims int8 and the ONNX computes in fp32"],
}


@pytest.mark.parametrize("name", CAUGHT)
def test_every_fault_is_caught_by_name_and_the_manifest_stays(bench: Bench, name: str) -> None:
    path = bench.planted(name)
    before = path.read_bytes()
    verification = bench.verification(path)
    assert not verification.passed
    for said in CAUGHT[name]:
        assert any(said in reason for reason in verification.reasons), verification.reasons
    with pytest.raises(Refused, match="not one that has passed"):
        record(path, verification)
    assert path.read_bytes() == before


def test_no_fault_is_forgotten(bench: Bench) -> None:
    assert set(CAUGHT) == set(bench.faults.FAULTS)


@pytest.mark.parametrize("name", ["the same graph", "weights stored in float16", "FP16, norm in FP32"])
def test_a_sound_model_passes_and_its_manifest_says_what_was_proved(bench: Bench, name: str) -> None:
    path = bench.planted(name)
    before = read_manifest(path)
    engine = path.with_name(before.engine)
    content = engine.read_bytes()
    verification = bench.verification(path, Bounds(false_match_rate=0.05, gallery_size=100))
    assert verification.passed and verification.reasons == ()
    assert verification.agreement is not None and verification.agreement.cosine_mean > LEAST_COSINES[before.precision]
    assert (
        verification.top1 > 0.97
        and abs(verification.before.map - verification.after.map) < 0.5
        and verification.after.map > 40
    )
    record(path, verification)
    after = read_manifest(path)
    assert engine.read_bytes() == content
    assert after.accuracy is not None and after.accuracy.map == round(verification.after.map, 2)
    assert (
        after.accuracy.queries == verification.after.queries == verification.pictures == VEHICLES * CAMERAS * PICTURES
    )
    assert after.match is not None and verification.match is not None
    assert (after.match.threshold, after.match.false_match_rate) == (verification.match.threshold, 0.05)
    assert after.match.gallery == 100
    same = {"accuracy": None, "match": None}
    assert after.model_copy(update=same) == before.model_copy(update=same)


def test_int8_passes_with_the_ranges_of_pictures(bench: Bench) -> None:
    # by the usual bound: the weights are a file and INT8 is exact, so that no processor gives another figure (-0.30)
    assert bench.verification(bench.planted("INT8 of every layer")).reasons == ()


def test_a_flipped_bit_is_caught_before_anything_runs_when_the_hash_was_not_rewritten(bench: Bench) -> None:
    path = bench.planted("the same graph")
    engine = path.with_name(read_manifest(path).engine)
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    with pytest.raises(Refused, match="sha256 differs"):
        bench.verification(path)


def test_an_engine_changed_after_it_passed_is_not_recorded(bench: Bench) -> None:
    path = bench.planted("the same graph")
    verification, before = bench.verification(path), read_manifest(path)
    engine = path.with_name(before.engine)
    engine.write_bytes(bench.planted("RGB and BGR swapped").with_suffix(".onnx").read_bytes())
    write_manifest(before.model_copy(update={"sha256": sha256_of(engine)}), path)
    with pytest.raises(Refused, match="not one that has passed"):
        record(path, verification)


def test_a_manifest_is_as_good_a_reference_and_all_reasons_are_given(bench: Bench) -> None:
    verification = bench.verification(bench.planted("another checkpoint"), against=bench.source)
    assert len(verification.reasons) >= 3 and len(set(verification.reasons)) == len(verification.reasons)
    with pytest.raises(Refused, match="20 queries"):
        verify(bench.source, str(bench.source), Dataset("few", (), bench.data.query[:9], bench.data.gallery), Bounds())


def test_one_picture_of_each_is_a_protocol_too(bench: Bench) -> None:
    data = Dataset("each", (), bench.data.gallery, bench.data.gallery, "one_of_each")
    verification = verify(bench.planted("FP16, norm in FP32"), str(bench.source), data, Bounds())
    assert verification.passed and verification.top1 > 0.97
    assert verification.match is not None and verification.match.queries == len(data.gallery) - VEHICLES


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (Bounds(max_map_loss=-1), "max-map-loss"),
        (Bounds(max_map_loss=float("nan")), "max-map-loss"),
        (Bounds(min_cosine=1.5), "min-cosine"),
        (Bounds(false_match_rate=0), "false-match-rate"),
        (Bounds(gallery_size=0), "gallery-size"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bench: Bench, bounds: Bounds, said: str) -> None:
    with pytest.raises(Refused, match=said):
        bench.verification(bench.source, bounds)


def test_what_no_embedding_may_be_is_reported_of_each() -> None:
    sound = unit_rows(np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    assert number_faults(sound, sound) == []
    assert agreement(sound, sound).cosine_min == pytest.approx(1) and agreement(sound, sound).error_max == 0

    def changed(rows: slice, value: float) -> np.ndarray:
        found = sound.copy()
        found[rows] = value
        return found

    for value in (np.nan, np.inf):
        (said,) = number_faults(changed(slice(3), value), sound)
        assert said.startswith("3 of 40 embeddings are NaN or infinite")
    (said,) = number_faults(changed(slice(5), 0), sound)
    assert said.startswith("5 of 40 embeddings are zero")
    (said,) = number_faults(2 * sound, sound)
    assert said.startswith("40 of 40 embeddings are not of unit length but of 2 to 2")
    (said,) = number_faults(np.repeat(sound[:1], 40, 0), sound)
    assert "nearly the same for every picture" in said
    assert agreement(changed(slice(10), np.nan), sound).cosine_mean == pytest.approx(0.75)
    still = sound.copy()
    still[:, 2] = 0.1
    assert "1 of 8 dimensions (such as 2)" in number_faults(unit_rows(still), sound)[0]
    # what is constant in the reference too is nothing that was lost
    assert number_faults(unit_rows(still), unit_rows(still)) == []


def test_the_first_answer_leaves_the_own_camera_out() -> None:
    query = Embedded(np.eye(2, dtype=np.float32), np.array([1, 2]), np.array([0, 0]))
    features = np.array([[1, 0], [0.9, 0.1], [0.1, 0.9]], np.float32)
    gallery = Embedded(features, np.array([1, 3, 2]), np.array([0, 0, 0]))
    assert nearest_vehicles(query, gallery).tolist() == [3, 3]
    assert nearest_vehicles(query, gallery, camera_rule=False).tolist() == [1, 2]
    assert nearest_vehicles(query, Embedded(features[:1], np.array([1]), np.array([0]))).tolist() == [-1, 1]


def test_the_page_shows_the_result_and_escapes_it(bench: Bench) -> None:
    passed = bench.verification(bench.source, Bounds(false_match_rate=0.05))
    page = "".join(verify_page(passed))
    assert "passed against best" in page and f"{passed.after.map:.2f}" in page and "<svg" in page
    assert "<script" not in page and "http-equiv" in page
    failed = bench.verification(bench.planted("another checkpoint"))
    page = "".join(verify_page(failed))
    assert all(reason.split("'")[0][:60] in page for reason in failed.reasons)
