"""The topology: what no vehicle can do, against a slow search of ways, and files that are wrong."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.topology import Layout, Span, Topology, read_topology

ROAD = """
[[pair]]
cameras = ["a", "b"]
least_s = 4
most_s = 90

[[pair]]
cameras = ["b", "c"]
least_s = 3

[[pair]]
cameras = ["c", "d"]
overlap = true

[[pair]]
cameras = ["d", "e"]
least_s = 2
one_way = true
"""


def road(tmp_path: Path, text: str = ROAD, cameras: tuple[str, ...] = ("a", "b")) -> Topology:
    path = tmp_path / "cameras.toml"
    path.write_text(text)
    return read_topology(path, cameras)


def test_ways_add_up_over_other_cameras(tmp_path: Path) -> None:
    ways = road(tmp_path)
    assert ways.least("a", "b") == 4 and ways.least("a", "c") == ways.least("c", "a") == 7
    assert ways.least("c", "d") == -math.inf  # they see the same place
    assert ways.least("a", "d") == 7 and ways.least("a", "e") == 9
    assert ways.least("e", "d") == 0.0  # against a one-way street: any time but the same
    assert ways.least("a", "x") == -math.inf  # not listed: anything goes
    closed = road(tmp_path, 'unlisted = "never"\n' + ROAD)
    assert closed.least("a", "x") == closed.least("e", "a") == math.inf


def test_too_soon_too_late_and_at_once(tmp_path: Path) -> None:
    ways = road(tmp_path)
    here = Span("a", 1, 0, 10)
    assert ways.apart(here, Span("b", 1, 13.9, 20)) and not ways.apart(here, Span("b", 1, 14, 20))
    assert ways.apart(here, Span("b", 1, -20, -3.9)) and not ways.apart(here, Span("b", 1, -20, -4))
    assert ways.apart(here, Span("a", 2, 5, 6)) and not ways.apart(here, Span("a", 2, 10.1, 11))
    assert not ways.apart(here, here) and not ways.apart(Span("c", 1, 0, 10), Span("d", 1, 3, 4))
    assert ways.missed(here, Span("b", 1, 100.1, 101)) and not ways.missed(here, Span("b", 1, 100, 101))
    assert not ways.missed(here, Span("c", 1, 1e6, 1e6 + 1))


@pytest.mark.parametrize("unlisted", ["any", "never"])
def test_all_pairs_at_once_are_the_pairs_one_by_one(tmp_path: Path, unlisted: str) -> None:
    ways, rng = road(tmp_path, f'unlisted = "{unlisted}"\n' + ROAD), np.random.default_rng(0)
    for _ in range(20):
        begins = rng.integers(0, 30, 25)
        spans = [
            Span(
                str(rng.choice(list("abcdex"))),
                int(rng.integers(1, 4)),
                float(begin),
                float(begin + rng.integers(0, 9)),
            )
            for begin in begins
        ]
        every = ways.all_apart(spans)
        for (i, one), (j, other) in itertools.product(enumerate(spans), repeat=2):
            assert every[i, j] == ways.apart(one, other), (one, other)
    assert ways.all_apart([]).shape == (0, 0)


def test_the_shortest_way_is_the_one_that_a_slow_search_finds() -> None:
    rng = np.random.default_rng(1)
    names = list("abcdef")
    for _ in range(10):
        pairs = [
            {"cameras": pair, "least_s": float(rng.integers(1, 20)), "one_way": bool(rng.integers(2))}
            for pair in itertools.combinations(names, 2)
            if rng.random() < 0.4
        ]
        ways = Topology(Layout.model_validate({"unlisted": "never", "pair": pairs}))
        direct = {}
        for pair in pairs:
            direct[pair["cameras"]] = pair["least_s"]
            if not pair["one_way"]:
                direct[pair["cameras"][::-1]] = pair["least_s"]
        for one, other in itertools.permutations(names, 2):
            found = math.inf
            for count in range(len(names) - 1):
                for between in itertools.permutations([n for n in names if n not in (one, other)], count):
                    steps = list(itertools.pairwise([one, *between, other]))
                    found = min(found, sum(direct.get(step, math.inf) for step in steps))
            assert ways.least(one, other) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[pair]", "not TOML"),
        ("[[pair]]\ncameras = ['a']", "wrong 'pair.0.cameras"),
        ("[[pair]]\ncameras = ['a', 'b']\nleast = 3", "wrong 'pair.0.least'"),
        ("[[pair]]\ncameras = ['a', 'b']\nleast_s = -1", "wrong 'pair.0.least_s'"),
        ("[[pair]]\ncameras = ['a', 'b']\nleast_s = nan", "wrong 'pair.0.least_s'"),
        ("[[pair]]\ncameras = ['a', 'a']", "with itself"),
        ("[[pair]]\ncameras = ['a', 'b']\nleast_s = 5\nmost_s = 4", "at most 4.0 s but at least 5.0"),
        ("[[pair]]\ncameras = ['left', 'right']", "knows left, right and none of this run's cameras, a, b"),
        ("unlisted = 'maybe'", "wrong 'unlisted'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        road(tmp_path, text)
    with pytest.raises(Refused, match="cannot be read"):
        read_topology(tmp_path / "missing.toml", ["a"])
