"""Several regions of a centre: who is proposed to be the same vehicle, what people answer, and search over all of them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_centre import DIM, looks, model_in, passage, seen
from made_gallery import opened, sighted, sighting, sql, written
from real_postgres import Server

from vreid.cli.main import main
from vreid.fleet.centre.reconciler import Reconciled, reconcile
from vreid.fleet.centre.settings import CentreSettings, read_centre
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery_place import DatabaseAddress

BEGIN = 1_790_000_000.0


@dataclass
class Regions:
    """A centre's file, and the galleries of its regions north and south."""

    file: Path
    north: Gallery
    south: Gallery
    place: DatabaseAddress  # of the gallery of north, which has the proposals

    @property
    def settings(self) -> CentreSettings:
        return read_centre(self.file, {})

    def passed(self) -> tuple[int, int]:
        """What one pass does: new proposals, and those that are gone."""
        [done] = reconcile(self.settings)
        assert isinstance(done, Reconciled) and done.regions == ("north", "south")
        return done.new, done.gone

    def proposed(self) -> set[tuple[int, int]]:
        return {(one, other) for one, other in sql(self.place, "SELECT vehicle, other FROM proposals")}


@pytest.fixture
def regions(tmp_path: Path, postgres: Server) -> Iterator[Regions]:
    north, south = postgres.new_place("north"), postgres.new_place("south")
    file = tmp_path / "centre.toml"
    file.write_text(written_file(model_in(tmp_path / "model"), north, south), encoding="utf-8")
    with ExitStack() as stack:
        galleries = [stack.enter_context(opened(place, dim=DIM)) for place in (north, south)]
        yield Regions(file, *galleries, north)


def written_file(model: Path, north: DatabaseAddress, south: DatabaseAddress) -> str:
    both = "".join(
        f'[[region]]\nname = "{name}"\ngallery = "{written(place)}"\n'
        for name, place in (("north", north), ("south", south))
    )
    return f'server = "nats://127.0.0.1:4222"\nmodel = "{model}"\nbetween_regions_s = 60\n{both}'


def printed(capfd: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """`code` 1: the NATS server is away."""
    capfd.readouterr()
    assert main(["centre", *map(str, words), "--json"]) == code
    return json.loads(capfd.readouterr().out)


def drives_by(gallery: Gallery, shows: int, seed: int, at: float, vehicle: int | None = None) -> int:
    """A vehicle that is new, or one that is there, is seen for two seconds up to `at`."""
    vehicle = gallery.add_vehicle() if vehicle is None else vehicle
    sighted(gallery, vehicle, passage(shows, seed, at))
    return vehicle


def test_exactly_those_that_both_regions_have_seen_are_proposed_once(regions: Regions) -> None:
    seen(regions.north, range(20), 1, BEGIN)
    assert regions.passed() == (0, 0)
    seen(regions.south, range(12, 30), 2, BEGIN + 1000)
    assert regions.passed() == (8, 0)
    shared = {(shows + 1, shows - 11) for shows in range(12, 20)}  # ids are given in the order in which they were seen
    assert regions.proposed() == shared
    assert sql(regions.place, "SELECT DISTINCT region, state, score > 0.8 FROM proposals") == [("south", "open", True)]
    drives_by(regions.north, 15, 3, BEGIN + 2000, 16)
    assert regions.passed() == (0, 0) and regions.proposed() == shared
    assert regions.north.size()[0] == 20 and regions.south.size()[0] == 18


def test_who_was_in_both_at_once_or_too_soon_is_not_proposed(regions: Regions) -> None:
    for shows, later in enumerate((0.0, 50.0, -50.0, 500.0)):
        drives_by(regions.north, shows, 1, BEGIN)
        drives_by(regions.south, shows, 2, BEGIN + later)
    assert regions.passed() == (1, 0) and regions.proposed() == {(4, 4)}
    drives_by(regions.south, 3, 3, BEGIN + 1.0, 4)  # at the same moment, as shows now
    assert regions.passed() == (0, 0) and regions.proposed() == set()


def test_what_was_answered_is_not_proposed_again_and_the_same_are_shown_as_one(
    regions: Regions, capfd: pytest.CaptureFixture[str]
) -> None:
    seen(regions.north, range(3), 1, BEGIN)
    seen(regions.south, [5, 0, 1], 2, BEGIN + 1000)
    regions.north.rename(1, "Ann's taxi")
    assert [one["new"] for one in printed(capfd, "reconcile", regions.file)["pairs"]] == [2]
    listed = printed(capfd, "proposals", regions.file)["proposals"]
    first = next(one for one in listed if one["vehicles"][0]["vehicle"] == 1)
    assert first["vehicles"] == [
        {"region": "north", "vehicle": 1, "name": "Ann's taxi", "camera": "gate", "seen": BEGIN},
        {"region": "south", "vehicle": 2, "name": "vehicle-0002", "camera": "gate", "seen": BEGIN + 1003.0},
    ]
    second = next(one for one in listed if one is not first)
    assert main(["centre", "answer", str(regions.file), first["id"], "same"]) == 0
    assert "north:1 = south:2" in capfd.readouterr().out
    said = printed(capfd, "answer", regions.file, second["id"], "same")
    assert said["answer"] == "same" and [each.partition(":")[0] for each in said["vehicles"]] == ["north", "south"]
    assert main(["centre", "answer", str(regions.file), second["id"], "different"]) == 0  # a mistake is mended
    assert printed(capfd, "proposals", regions.file, "--open")["proposals"] == []
    states = {one["id"]: one["state"] for one in printed(capfd, "proposals", regions.file)["proposals"]}
    assert states == {first["id"]: "same", second["id"]: "different"}
    for shows, (one, other) in enumerate(((1, 2), (2, 3))):
        drives_by(regions.north, shows, 7, BEGIN + 2000, one)
        drives_by(regions.south, shows, 8, BEGIN + 3000, other)
    assert regions.passed() == (0, 0)

    assert printed(capfd, "show", regions.file, code=1)["same"] == [["north:1", "south:2"]]
    found = printed(capfd, "search", regions.file, "ann's taxi")
    assert found["of"] == "north:1 = south:2" and found["compared"] == 4
    assert {(one["region"], one["vehicle"]) for one in found["matches"]} == {
        ("north", 2), ("north", 3), ("south", 1), ("south", 3)
    }  # fmt: skip
    assert {one["known"] for one in found["matches"]} == {"no"}
    best = printed(capfd, "search", regions.file, "south:3", "--k", 1)["matches"]
    assert [(one["region"], one["vehicle"], one["known"], one["same"]) for one in best] == [("north", 2, "known", [])]
    others = printed(capfd, "search", regions.file, "north:2", "--k", 9)["matches"]
    assert [one["same"] for one in others if one["same"]] == [["north:1", "south:2"]]
    assert len(others) == 4

    for gallery, other in ((regions.north, "south:2"), (regions.south, "north:1")):
        rows = gallery.changes(verbs=("answer across regions",))
        assert [row.detail["answer"] for row in rows] == ["same", "same", "different"]
        assert rows[0].detail == {"of": other, "answer": "same"}


def test_a_removal_takes_proposals_along(regions: Regions) -> None:
    seen(regions.north, range(4), 1, BEGIN)
    seen(regions.south, range(4), 2, BEGIN + 1000)
    assert regions.passed() == (4, 0)
    sql(regions.place, "UPDATE proposals SET state = 'same' WHERE vehicle < 3")
    regions.north.remove(1)
    assert regions.proposed() == {(2, 2), (3, 3), (4, 4)}
    regions.south.remove(2)
    regions.south.remove(3)
    assert regions.passed() == (0, 2) and regions.proposed() == {(4, 4)}
    drives_by(regions.south, 0, 9, BEGIN + 2000)
    assert regions.passed() == (0, 0)


def test_several_reconcilers_at_once_propose_each_pair_once(regions: Regions) -> None:
    seen(regions.north, range(30), 1, BEGIN)
    seen(regions.south, range(30), 2, BEGIN + 1000)
    with ThreadPoolExecutor(4) as pool:
        done = [*pool.map(lambda settings: reconcile(settings)[0].new, [regions.settings] * 4)]
    assert sum(done) == 30 and regions.proposed() == {(number, number) for number in range(1, 31)}


def test_a_gallery_put_back_from_a_backup_is_read_from_its_beginning(regions: Regions) -> None:
    seen(regions.north, range(2), 1, BEGIN)
    regions.passed()
    sql(regions.place, "UPDATE settings SET value = '{\"north\": 99, \"south\": 99}' WHERE key = 'reconciled south'")
    seen(regions.south, range(2), 2, BEGIN + 1000)
    assert regions.passed() == (2, 0)


def test_what_cannot_be_meant_is_refused_in_a_sentence(regions: Regions, capfd: pytest.CaptureFixture[str]) -> None:
    for gallery in (regions.north, regions.south):
        gallery.add_vehicle("taxi")
    for words, reason in (
        (("search", "--k", "3"), "name what to search for"),
        (("search", "taxi"), "write north:1 or south:1"),
        (("search", "lorry"), "no region has a vehicle 'lorry'"),
        (("search", "north:taxi"), "no feature"),
        (("search", "north:99"), "the region north has no vehicle '99'"),
        (("answer", "north/9", "same"), "no proposal 'north/9'"),
        (("answer", "west/1", "same"), "no proposal 'west/1'"),
        (("answer", "north/x", "different"), "no proposal 'north/x'"),
    ):
        capfd.readouterr()
        assert main(["centre", words[0], str(regions.file), *words[1:]]) == 2
        assert reason in " ".join(capfd.readouterr().err.split()), words


def test_an_answer_about_one_that_was_removed_is_refused(regions: Regions, capfd: pytest.CaptureFixture[str]) -> None:
    drives_by(regions.north, 0, 1, BEGIN)
    drives_by(regions.south, 0, 2, BEGIN + 500)
    assert regions.passed() == (1, 0)
    regions.south.remove(1)
    assert main(["centre", "answer", str(regions.file), "north/1", "same"]) == 2
    assert "south:1 was removed since" in capfd.readouterr().err
    assert sql(regions.place, "SELECT state FROM proposals") == [("open",)]


def test_a_picture_is_searched_for_in_all_regions(
    tmp_path: Path, postgres: Server, colour_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = postgres.new_place("north"), postgres.new_place("south")
    file = tmp_path / "centre.toml"
    file.write_text(written_file(colour_model, *places), encoding="utf-8")
    for place, colours in zip(places, (np.eye(3), np.eye(3)[::-1] + 0.3), strict=True):
        with open_gallery(place, fingerprint="colour-1", dim=3, model="colour", write=True) as gallery:
            for number, colour in enumerate(colours):
                gallery.enrol(f"n{number}", colour[None].astype(np.float32))
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((30, 40, 3), (255, 0, 0), np.uint8))
    found = printed(capfd, "search", file, "--image", tmp_path / "blue.png", "--k", 2)
    assert found["compared"] == 6
    assert [(one["region"], one["name"]) for one in found["matches"]] == [("north", "n0"), ("south", "n2")]
    assert main(["centre", "search", str(file), "--image", str(tmp_path / "blue.png")]) == 0
    assert "north:1" in capfd.readouterr().out
    assert main(["centre", "proposals", str(file)]) == 0 and main(["centre", "reconcile", str(file)]) == 0


def test_sightings_without_a_feature_propose_nobody(regions: Regions) -> None:
    for gallery in (regions.north, regions.south):
        gallery.add_sighting(gallery.add_vehicle(), sighting(1, feature=looks(1, 1), seen=BEGIN), 0.5)
    assert regions.passed() == (0, 0)
