"""`synth://city?live=1`: the made scene as live cameras."""

import itertools

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.sources.synth import open_synth
from vreid.runtime.sources.table import address_of, open_source

SCENE = "synth://city?camera=1&seed=7&cameras=1&seconds=3&vehicles=2&fps=10"


def test_a_live_scene_shows_the_frames_of_the_scene_in_order() -> None:
    still = [frame.image for frame in open_synth(SCENE, "gate")]
    source = open_source(f"gate={SCENE}&live=1")
    try:
        frames = list(itertools.islice(source, 5))
    finally:
        source.close()
    assert source.live
    places = [next(place for place, image in enumerate(still) if np.array_equal(image, one.image)) for one in frames]
    steps = {(after - before) % len(still) for before, after in itertools.pairwise(places)}
    assert 0 not in steps
    times = [frame.time for frame in frames]
    assert times == sorted(times)


def test_a_live_scene_is_a_camera_and_a_still_one_is_a_file() -> None:
    assert address_of(f"{SCENE}&live=1").live
    assert not address_of(SCENE).live
    assert not address_of(f"{SCENE}&live=0").live


def test_a_live_scene_that_makes_no_scene_is_refused() -> None:
    with pytest.raises(Refused, match="live is a number"):
        open_synth(f"{SCENE}&live=maybe", "gate")
