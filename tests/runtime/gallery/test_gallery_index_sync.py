"""The index follows the gallery's file, whoever writes it and however it is undone."""

import subprocess
import sys
from functools import partial

import made_gallery
import numpy as np
import pytest
from gallery_changes import anything
from made_gallery import anew, answers, compared, enrolled, features, sql, sql_often, written

from vreid.runtime.gallery.index import sync
from vreid.runtime.gallery.postgres import search
from vreid.runtime.gallery_place import GalleryPlace

opened = partial(made_gallery.opened, max_prototypes=4, merge_above=0.7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("new_place", "index"),
    [("sqlite", "flat"), ("postgresql", "flat"), ("postgresql", "pgvector")],
    indirect=["new_place"],
)
def test_after_any_rollbacks_the_index_is_what_the_file_says(
    place: GalleryPlace, index: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    if index != "flat":
        monkeypatch.setattr(search, "EXACT", 0)
    with opened(place, index=index) as gallery:
        gallery.index.build(lambda done, steps: None)
        anything(gallery, random, 30)
        assert answers(gallery) == compared(gallery) == anew(place)


def test_changes_come_again_with_the_same_ids_after_a_rollback(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        (vehicle,) = enrolled(gallery, 1, 0)
        answers(gallery)
        with pytest.raises(KeyError), gallery.transaction():
            gallery.add_prototype(vehicle, "rear", features(1, 1)[0])
            answers(gallery)  # the index is at the change that is undone
            raise KeyError
        (other,) = enrolled(gallery, 1, 2)  # the same change's id, the same prototype's id, another vehicle
        assert [one for one, _ in answers(gallery)[0]] in ([vehicle, other], [other, vehicle])
        assert answers(gallery) == anew(place)


OTHER = """
import sys, numpy as np
from vreid.runtime.gallery import open_gallery
for line in sys.stdin:
    with open_gallery(sys.argv[1], fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
        exec(line)
    print("done", flush=True)
"""


def test_a_reader_follows_another_process_without_filling_anew(
    place: GalleryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place) as gallery:
        enrolled(gallery, 20, 0)
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, written(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with opened(place, write=False) as reader:
        answers(reader)
        monkeypatch.setattr(sync, "filled", lambda *_: pytest.fail("filled anew"))
        for line in (
            "gallery.add_prototype(gallery.add_vehicle(), 'front', np.eye(8, dtype=np.float32)[0])",
            "gallery.remove(3)",
            "gallery.add_prototype(5, 'rear', np.eye(8, dtype=np.float32)[1])",
            "with gallery.transaction() as store: [store.delete_vehicle(one) for one in range(1, 9)]",
        ):
            other.stdin.write(line + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"
            assert answers(reader) == compared(reader)
    other.communicate()
    assert other.returncode == 0


def test_the_log_is_bounded_and_an_index_that_is_older_is_filled_anew(place: GalleryPlace) -> None:
    with opened(place) as gallery, opened(place, write=False) as reader:
        vehicles = enrolled(gallery, 10, 0)
        answers(reader)
        sql_often(place, "UPDATE prototypes SET weight = weight + 1", 11_000)
        gallery.remove(vehicles[0])
        (count, first) = sql(place, "SELECT count(*), min(id) FROM changes")[0]
        assert 100_000 <= count < 105_000
        assert first > 5000
        assert answers(reader) == answers(gallery) == anew(place)


def test_a_search_is_held_to_the_vehicles_that_are_meant(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        vehicles = enrolled(gallery, 30, 0)
        for hits in gallery.search(features(5, 7), 99, vehicles[::3]):
            assert sorted(hit.vehicle for hit in hits) == vehicles[::3]
        assert gallery.search(features(2, 7), 3, []) == [[], []]
        assert gallery.search(features(1, 7), 3, [10**9, -1]) == [[]]
        gallery.remove(vehicles[0])
        for hits in gallery.search(features(5, 7), 99, vehicles[::3]):
            assert sorted(hit.vehicle for hit in hits) == vehicles[3::3]
        scores = gallery.scores(features(4, 7), [vehicles[5], vehicles[0], vehicles[5], vehicles[2]]).cosines
        assert scores[:, 1].tolist() == [-1] * 4
        np.testing.assert_array_equal(scores[:, 0], scores[:, 2])
        assert gallery.scores(features(4, 7), []).cosines.shape == (4, 0)
