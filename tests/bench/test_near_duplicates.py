"""Near-duplicate videos: chamfer similarity and mAP equal slow versions, batches change nothing, frames come in order."""

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made_film import level, make_film
from near_duplicates import chamfer, read_video_truth, video_features, video_frames, video_named, video_scores

from vreid.models.errors import Refused
from vreid.models.preprocess import Floats, Image


def video(seed: int, frames: int, dim: int = 9) -> Floats:
    drawn = np.random.default_rng(seed).standard_normal((frames, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def slow_chamfer(query: Floats, other: Floats, symmetric: bool) -> float:
    best = [max(float(np.dot(q.astype(np.float64), g.astype(np.float64))) for g in other) for q in query]
    there = sum(best) / len(best)
    return (there + slow_chamfer(other, query, False)) / 2 if symmetric else there


def slow_map(truth: dict[str, dict[str, bool]], queries: dict[str, Floats], labelled: dict[str, Floats],
             distractors: Sequence[Floats], symmetric: bool) -> tuple[float, int]:  # fmt: skip
    """One ranked list a query, wrong videos first among equals, precision where a duplicate stands."""
    values = []
    for name, labels in truth.items():
        listed = [(slow_chamfer(queries[name], labelled[other], symmetric), same) for other, same in labels.items()]
        listed += [(slow_chamfer(queries[name], other, symmetric), False) for other in distractors]
        ranked = [same for _, same in sorted(((-round(score, 7), same) for score, same in listed))]
        if any(ranked):
            precisions = [sum(ranked[:place]) / place for place, same in enumerate(ranked, 1) if same]
            values.append(sum(precisions) / len(precisions))
    return 100 * sum(values) / len(values), len(values)


class Made:
    """Six queries of which the last has no duplicate; each labels some videos; distractors; lengths differ."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.queries = {f"q{row}": video(row, 1 + 2 * row) for row in range(6)}
        self.labelled = {f"v{row}": video(100 + row, int(random.integers(1, 12))) for row in range(25)}
        self.labelled["v3"] = self.queries["q1"][::-1].copy()
        self.labelled["v4"] = self.labelled["v3"]  # a tie
        self.distractors = [video(200 + row, int(random.integers(1, 12))) for row in range(40)]
        self.truth = {
            name: {f"v{v}": bool(random.random() < 0.4) and name != "q5" for v in random.permutation(25)[:12].tolist()}
            for name in self.queries
        }
        self.truth["q1"].update(v3=True, v4=False)


@pytest.fixture(scope="module")
def known() -> Made:
    return Made()


@pytest.mark.parametrize("symmetric", [False, True])
def test_chamfer_equals_the_definition(symmetric: bool) -> None:
    for seed, (frames, others) in enumerate([(1, 1), (1, 6), (7, 1), (5, 13)]):
        query, other = video(seed, frames), video(seed + 50, others)
        wanted = slow_chamfer(query, other, symmetric)
        assert chamfer(query, other, symmetric=symmetric) == pytest.approx(wanted, abs=1e-6)
    assert chamfer(query, query, symmetric=symmetric) == pytest.approx(1, abs=1e-6)
    assert chamfer(query[:2], query) == pytest.approx(1, abs=1e-6)  # a part of it
    assert chamfer(query, query[:2]) < 0.99 > chamfer(query[:2], query, symmetric=True)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_map_equals_the_definition(known: Made, symmetric: bool, unlabelled: bool) -> None:
    others = known.distractors if unlabelled else []
    wanted, counted = slow_map(known.truth, known.queries, known.labelled, others, symmetric)
    score = video_scores(known.truth, known.queries, known.labelled.items(), distractors=others, symmetric=symmetric)
    assert score.map == pytest.approx(wanted, abs=1e-9)
    named = {name for labels in known.truth.values() for name in labels}
    assert (score.queries, score.skipped, score.labelled, score.distractors) == (counted, 1, len(named), len(others))


@pytest.mark.parametrize("symmetric", [False, True])
def test_batches_of_any_size_give_the_same_bits(known: Made, symmetric: bool) -> None:
    scores = [
        video_scores(
            known.truth, known.queries, iter(known.labelled.items()), distractors=iter(known.distractors),
            symmetric=symmetric, frames=frames,
        )
        for frames in (1, 10, 37, 8192)
    ]  # fmt: skip
    assert scores == scores[:1] * 4
    parts = [chamfer(known.queries["q3"], other, symmetric=symmetric) for other in known.distractors]
    assert len(set(parts)) == 40


def test_a_tie_counts_against_the_duplicate(known: Made) -> None:
    truth, queries = {"q1": {"v3": True, "v4": False}}, {"q1": known.queries["q1"]}
    assert video_scores(truth, queries, known.labelled.items()).map == 50.0
    twin = [known.labelled["v3"]]
    assert video_scores({"q1": {"v3": True}}, queries, known.labelled.items(), distractors=twin).map == 50.0


def test_what_the_truth_names_must_be_there_once(known: Made) -> None:
    truth = {"q1": {"v3": True, "v4": False}}
    with pytest.raises(Refused, match=r"1 labelled videos .* v4"):
        video_scores(truth, known.queries, [("v3", known.labelled["v3"])])
    with pytest.raises(Refused, match="v3 comes twice"):
        video_scores(truth, known.queries, [("v3", known.labelled["v3"])] * 2)
    with pytest.raises(Refused, match=r"query videos .* q1"):
        video_scores(truth, {}, [])
    with pytest.raises(Refused, match="no query has"):
        video_scores({"q1": {"v3": False}}, known.queries, known.labelled.items())
    with pytest.raises(Refused, match="one frame or more"):
        video_scores(truth, {"q1": np.zeros((0, 9), np.float32)}, known.labelled.items())
    with pytest.raises(Refused, match="one network"):
        video_scores(truth, {"q1": video(1, 3, dim=4)}, known.labelled.items())
    with pytest.raises(Refused, match="unit length"):
        chamfer(known.queries["q1"] * 3, known.labelled["v3"])


def test_the_truth_is_read_from_lines(tmp_path: Path) -> None:
    path = tmp_path / "test_groundtruth"
    path.write_text("q1 v1 1\nq1 v2 0\n\nq2 v1 something 1\n")
    assert read_video_truth(path) == {"q1": {"v1": True, "v2": False}, "q2": {"v1": True}}
    wrong = {name + " v1 1": "line 1 names" for name in ("../q", "/etc/q", "a\\b")}
    wrong |= {
        "q1 v/../../x 1": "line 1 names",
        "q1 v1 1\nq1 v1 0\n": "line 2.*both ways",
        "q1 v1\n": "line 1",
        "q v 2\n": "line 1",
        "\n": "no videos",
    }
    for text, why in wrong.items():
        path.write_text(text)
        with pytest.raises(Refused, match=why):
            read_video_truth(path)


def test_a_video_is_the_one_of_its_name(tmp_path: Path) -> None:
    for name in ("clip.v1.mp4", "clip.v2.mp4", "two.mp4", "two.avi", "thumb.jpg", "sub/q.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, file in (("clip.v2", "clip.v2.mp4"), ("two.avi", "two.avi"), ("sub/q", "sub/q.mp4")):
        assert video_named(tmp_path, name) == tmp_path / file
    for name, says in (
        ("clip", "no video clip in"), ("thumb", "no video thumb"), ("q", "no video q"), ("x/q", "no video x/q"),
        ("**", r"no video \*\*"), ("two", "more than one video two"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=says):
            video_named(tmp_path, name)


def grey(level: int) -> Image:
    return np.full((32, 48, 3), level, np.uint8)


def test_frames_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    levels = [10, 60, 110, 160, 210, 250, 30, 90, 140, 190, 20]
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    assert writer.isOpened()
    (tmp_path / "film").mkdir()
    for row, shade in enumerate(levels):
        writer.write(grey(shade))
        assert cv2.imwrite(str(tmp_path / "film" / f"{row}.png"), grey(shade))  # 2 before 10
    writer.release()
    (tmp_path / "film" / "notes.txt").write_text("no picture")
    for where in ("film.avi", "film"):
        for every in (1, 3, 50):
            means = [float(frame.mean()) for frame in video_frames(tmp_path / where, every)]
            assert means == pytest.approx(levels[::every], abs=4)

    def embed(images: Sequence[Image]) -> Floats:
        return np.array([[image.mean(), 100] for image in images], np.float32)

    found = video_features(tmp_path / "film", embed, every=2, batch=4)
    wanted = np.array([[level, 100] for level in levels[::2]], np.float64)
    assert found == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize("interlaced", [False, True])
def test_interlaced_and_uneven_films_give_every_frame(tmp_path: Path, interlaced: bool) -> None:
    """OpenCV from 4.13 on gives interlaced films as black pictures."""
    options = {"flags": "+ildct+ilme"} if interlaced else {}
    times = [0.0, 0.1, 0.2, 1.7, 1.8, 5.0]
    film = make_film(tmp_path / "film.mp4", times, size=(128, 96), options=options)
    means = [float(frame.mean()) for frame in video_frames(film)]
    assert means == pytest.approx([level(number) for number in range(len(times))], abs=5)


def test_a_film_that_is_damaged_or_has_only_sound_is_refused(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", [n / 10 for n in range(60)], codec="libx264", size=(128, 96))
    content = bytearray(film.read_bytes())
    content[1200:2400] = bytes(1200)  # lengths of the codec's units, which are wrong then
    film.write_bytes(bytes(content))
    with pytest.raises(Refused, match=r"film\.mp4"):
        list(video_frames(film))
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(Refused, match="not a video"):
        list(video_frames(tmp_path / "sound.mp4"))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no film")
    for where, why in (("empty", "no pictures"), ("text.mp4", "not a video"), ("none.mp4", "there is no")):
        with pytest.raises(Refused, match=why):
            list(video_frames(tmp_path / where))
    with pytest.raises(Refused, match="a frame in 0 cannot"):
        video_frames(tmp_path / "empty", 0)
