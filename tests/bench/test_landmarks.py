"""Landmarks: scores equal a slow version from the definitions, blocks change nothing, pictures become scores."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from exact_ranks import distractor_blocks, wrong_ahead
from landmarks import Landmarks, Query, cropped, embedded_landmarks, landmark_scores, multi_scale, trapezoid

from vreid.models.errors import Refused
from vreid.models.preprocess import Floats, Image, resized

BOX = (0.0, 0.0, 8.0, 8.0)


def features(count: int, seed: int, dim: int = 6) -> Floats:
    """Unit vectors of few different values, so that many scores are equal."""
    drawn = np.random.default_rng(seed).integers(-1, 2, (count, dim)).astype(np.float64)
    drawn[:, 0] += 0.5
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def smooth(count: int, seed: int, dim: int = 33) -> Floats:
    drawn = np.random.default_rng(seed).standard_normal((count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def made(queries: int, gallery: int, seed: int) -> Landmarks:
    """Random marks; of the first queries one has no easy, one no hard, one neither."""
    random = np.random.default_rng(seed)
    queried = []
    for row in range(queries):
        easy, hard, junk = np.split(random.permutation(gallery)[:12].tolist(), [4, 9])
        easy, hard = easy[: 0 if row in (0, 2) else 4], hard[: 0 if row in (1, 2) else 5]
        queried.append(Query(f"q{row}", BOX, *(tuple(int(i) for i in part) for part in (easy, hard, junk))))
    return Landmarks(tuple(f"g{row}" for row in range(gallery)), tuple(queried))


def whole(feature: np.ndarray) -> list[int]:
    """The grid that ranks are exact on, in Python's integers."""
    return [round(float(value) * 2**25) for value in feature]


def slow_scores(landmarks: Landmarks, queries: Floats, gallery: Floats) -> dict[str, tuple[list[float], int]]:
    """From the definitions: sort the whole gallery, strike the junk out, walk down the curve of precision and recall."""
    result = {}
    for setting in ("easy", "medium", "hard"):
        rows = []
        for query, feature in zip(landmarks.queries, queries, strict=True):
            right = set(query.easy if setting != "hard" else ()) | set(query.hard if setting != "easy" else ())
            dropped = (set(query.easy) | set(query.hard) | set(query.junk)) - right
            if not right:
                continue
            values = whole(feature)
            ranked = []
            for index, other in enumerate(gallery):
                if index not in dropped:
                    score = sum(a * b for a, b in zip(values, whole(other), strict=True))
                    ranked.append((-score, index in right))  # False sorts first: the wrong lead among equals
            hits = [hit for _, hit in sorted(ranked)]
            area, recall, precision = 0.0, 0.0, 1.0
            for place in range(1, len(hits) + 1):
                met = sum(hits[:place])
                area += (met / len(right) - recall) * (precision + met / place) / 2
                recall, precision = met / len(right), met / place
            last = max(place for place, hit in enumerate(hits, 1) if hit)
            at = [sum(hits[: min(k, last)]) / min(k, last) for k in (1, 5, 10)]
            rows.append([area, *at])
        result[setting] = ([100 * sum(column) / len(rows) for column in zip(*rows, strict=True)], len(rows))
    return result


@pytest.mark.parametrize("draw", [features, smooth])
def test_scores_equal_the_definition(draw: Callable[[int, int], Floats]) -> None:
    landmarks, queries, gallery = made(7, 60, 1), draw(7, 2), draw(60, 3)
    slow = slow_scores(landmarks, queries, gallery)
    for setting, score in landmark_scores(landmarks, queries, gallery).items():
        wanted, counted = slow[setting]
        assert [score.map, score.p1, score.p5, score.p10] == pytest.approx(wanted, abs=1e-9)
        assert (score.queries, score.skipped, score.gallery) == (counted, 7 - counted, 60)
    assert [slow[setting][1] for setting in slow] == [5, 6, 5]


@pytest.mark.parametrize("draw", [features, smooth])
@pytest.mark.parametrize("block", [1, 7, 64, 4096])
def test_blocks_and_distractors_equal_one_gallery_bit_for_bit(draw: Callable[[int, int], Floats], block: int) -> None:
    landmarks, queries, gallery, others = made(7, 60, 1), draw(7, 2), draw(60, 3), draw(500, 4)
    names = (*landmarks.gallery, *(f"d{row}" for row in range(500)))
    plain = landmark_scores(Landmarks(names, landmarks.queries), queries, np.concatenate([gallery, others]), block=9999)
    once = iter(np.array_split(others, [1, 3, 200]))  # an iterator, as one reads files
    assert landmark_scores(landmarks, queries, gallery, distractors=once, block=block) == plain
    assert plain["medium"].gallery == 560


def test_ranks_worked_out_by_hand() -> None:
    angles = np.deg2rad([0.0, 10.0, 20.0, 30.0, 30.0, 40.0])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ahead, seen = wrong_ahead(gallery[:1], gallery, [np.array([3, 0, 5])])  # marked: ranks 4 (tied with one), 1 and 6
    assert (ahead[0].tolist(), seen) == ([3, 0, 3], 6)
    query = (Query("q", BOX, (0,), (3,), (5,)),)
    scores = landmark_scores(Landmarks(tuple("abcdef"), query), gallery[:1], gallery)
    assert scores["easy"].map == 100.0 and scores["easy"].p10 == 100.0
    assert scores["medium"].map == pytest.approx(100 * (1 + (1 / 4 + 2 / 5) / 2) / 2)
    assert scores["hard"].map == pytest.approx(100 * (0 + 1 / 4) / 2)
    assert scores["hard"].p10 == pytest.approx(100 / 4)  # no further than the last right picture
    assert trapezoid(np.array([1, 2, 3])) == 1.0


def test_the_same_feature_everywhere_is_not_good() -> None:
    one = np.ones((1, 4), np.float32) / 2
    scores = landmark_scores(made(3, 60, 1), one.repeat(3, 0), one.repeat(60, 0))
    assert all(score.map < 10 and score.p1 == 0 for score in scores.values())


def test_settings_without_positives_are_left_out() -> None:
    gallery = smooth(4, 1)
    only_hard = Landmarks(tuple("abcd"), (Query("q", BOX, (), (1,), ()), Query("r", BOX, (), (), (2,))))
    scores = landmark_scores(only_hard, gallery[:2], gallery)
    assert list(scores) == ["medium", "hard"] and scores["hard"].skipped == 1
    with pytest.raises(Refused, match="no query has a positive"):
        landmark_scores(Landmarks(tuple("abcd"), (Query("q", BOX, (), (), (2,)),)), gallery[:1], gallery)


def test_features_that_cannot_be_ranked_are_refused() -> None:
    landmarks, queries, gallery = made(3, 60, 1), smooth(3, 2), smooth(60, 3)
    with pytest.raises(Refused, match="unit length"):
        landmark_scores(landmarks, queries * 2, gallery)
    with pytest.raises(Refused, match="not finite"):
        landmark_scores(landmarks, queries, np.where(gallery == gallery[3, 3], np.nan, gallery))
    with pytest.raises(Refused, match="one network"):
        landmark_scores(landmarks, queries, gallery, distractors=[smooth(2, 1, dim=4)])
    with pytest.raises(Refused, match="59 features for 60"):
        landmark_scores(landmarks, queries, gallery[:59])


def test_distractors_are_mapped_from_files(tmp_path: Path) -> None:
    parts = [smooth(50, 1), smooth(9, 2).astype(np.float16)]
    for row, part in enumerate(parts):
        np.save(tmp_path / f"{row}.npy", part)
    blocks = list(distractor_blocks([tmp_path / "0.npy", tmp_path / "1.npy"], rows=20))
    assert [len(block) for block in blocks] == [20, 20, 10, 9]
    assert np.array_equal(np.concatenate(blocks[:3]), parts[0])
    np.save(tmp_path / "objects.npy", np.array([[{}]], object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.ones((2, 2), np.int64))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "0.npy").read_bytes()[:300])
    for name in ("objects.npy", "whole.npy", "cut.npy", "none.npy"):
        with pytest.raises(Refused, match=name):
            distractor_blocks([tmp_path / name])
    np.save(tmp_path / "huge.npy", np.ones((2, 2)))
    header = (tmp_path / "huge.npy").read_bytes().replace(b"(2, 2)", b"(2, 9" + b"9" * 30 + b")")[:120]
    for name, content in (
        ("zip.npy", b"PK\x03\x04 cut"),
        ("huge.npy", header),
        ("text.npy", b"\x93NUMPY\x01\x00\x05\x00{'(\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refused, match=name):  # at once, before anything is embedded
            distractor_blocks([tmp_path / name])


def pictures(seed: int, sizes: Sequence[tuple[int, int]]) -> list[Image]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 255, (height, width, 3), np.uint8) for height, width in sizes]


def looks(images: Sequence[Image], size: tuple[int, int]) -> Floats:
    """A feature that knows the size it was seen at: means of quarters."""
    seen = [resized(image, *size).astype(np.float32) for image in images]
    return np.stack([np.concatenate([part.mean((0, 1)) for half in np.array_split(image, 2) for part in
                                     np.array_split(half, 2, axis=1)]) for image in seen])  # fmt: skip


def test_one_scale_equals_plain_and_several_their_mean() -> None:
    images = pictures(1, [(20, 30), (40, 16), (20, 30), (31, 17)])
    own = np.concatenate([looks([image], image.shape[:2]) for image in images])
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    assert multi_scale(looks, scales=(1,))(images) == pytest.approx(unit, abs=1e-6)
    total = np.zeros_like(unit)
    for scale in (1, 2**-0.5, 0.5):
        for row, image in enumerate(images):
            part = looks([image], (round(image.shape[0] * scale), round(image.shape[1] * scale)))[0]
            total[row] += part / np.linalg.norm(part)
    assert multi_scale(looks)(images) == pytest.approx(total / np.linalg.norm(total, axis=1, keepdims=True), abs=1e-6)
    sizes = []

    def spy(group: Sequence[Image], size: tuple[int, int]) -> Floats:
        sizes.append((len(group), size))
        return looks(group, size)

    multi_scale(spy, size=(32, 24))(images)
    assert sizes == [(4, (32, 24)), (4, (23, 17)), (4, (16, 12))]
    with pytest.raises(Refused, match="scales"):
        multi_scale(looks, scales=())
    with pytest.raises(Refused, match="not finite"):
        multi_scale(lambda group, _: np.full((len(group), 2), np.nan))(images)


def test_boxes_are_clipped_to_the_picture() -> None:
    image = pictures(1, [(20, 30)])[0]
    assert np.array_equal(cropped(image, (2.4, 3.6, 10.5, 11.4)), image[4:11, 2:10])
    assert np.array_equal(cropped(image, (-5, -5, 99, 99)), image)
    for outside in ((30.0, 0.0, 40.0, 9.0), (-9.0, 0.0, -2.0, 9.0)):
        with pytest.raises(Refused, match=r"box .* outside of q\.jpg"):
            cropped(image, outside, "q.jpg")


def test_pictures_on_disk_become_scores(tmp_path: Path) -> None:
    images = pictures(3, [(20, 30), (24, 30), (20, 30), (26, 18)])
    for name, image in zip("abcd", images, strict=True):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    landmarks = Landmarks(tuple("abc"), (Query("a", (0, 0, 30, 20), (0,), (), ()), Query("d", BOX, (), (1,), (2,))))
    embed = multi_scale(looks)
    queries, gallery = embedded_landmarks(landmarks, tmp_path, embed, suffix=".png", batch=2)
    assert gallery == pytest.approx(embed(images[:3]), abs=1e-6)
    assert queries == pytest.approx(embed([images[0], images[3][:8, :8]]), abs=1e-6)
    assert landmark_scores(landmarks, queries, gallery)["easy"].map == 100.0
    with pytest.raises(Refused, match=r"a\.jpg"):
        embedded_landmarks(landmarks, tmp_path, embed)
