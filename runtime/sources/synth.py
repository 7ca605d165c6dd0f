"""`synth://city?camera=1&seed=7`: one camera of the procedural scene as a source, and its ground truth."""

import math
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from vreid.models.errors import Refused
from vreid.runtime.sources.file import FrameSequence
from vreid.runtime.sources.table import Source
from vreid.synth.city import Scene, Truth, city

CAMERAS = 3  # of a city whose URI does not say how many
DEFAULTS = {"camera": 1.0, "seed": 7.0, "vehicles": 12.0, "seconds": 20.0, "cameras": float(CAMERAS), "fps": 10.0}
WHOLE = ("camera", "seed", "vehicles", "cameras")


@dataclass(frozen=True)
class _Wanted:
    camera: int
    seed: int
    vehicles: int
    seconds: float
    cameras: int
    fps: float


def open_synth(uri: str, camera: str) -> Source:
    """The camera that the URI numbers, from 1, called `camera`; frames are drawn as they are taken.

    The query takes camera, seed, vehicles, seconds, cameras and fps. All cameras of the same other parameters see the
    same vehicles. Refused for another place, an unknown parameter, or a number that makes no scene.
    """
    wanted = _wanted(uri)
    scene, number = _scene(wanted), wanted.camera
    size = scene.views[number - 1].size
    return FrameSequence(camera, scene.fps, size, scene.frames, lambda index: scene.frame(number, index))


def synth_truth(uri: str) -> dict[int, list[Truth]]:
    """Of every frame index of that camera: the vehicles in it, by ids that all cameras of the scene share."""
    wanted = _wanted(uri)
    scene = _scene(wanted)
    return {index: scene.truth(wanted.camera, index) for index in range(scene.frames)}


def _scene(wanted: _Wanted) -> Scene:
    return city(wanted.seed, wanted.vehicles, wanted.seconds, wanted.cameras, wanted.fps)


def _wanted(uri: str) -> _Wanted:
    parts = urlsplit(uri)
    if parts.scheme != "synth" or parts.netloc != "city" or parts.path.strip("/") or parts.fragment:
        raise Refused(f"there is no synthetic place '{uri}'; write synth://city?camera=1&seed=7")
    values = dict(DEFAULTS)
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in DEFAULTS:
            raise Refused(f"synth://city takes no parameter '{name}'; use some of: {', '.join(DEFAULTS)}")
        values[name] = _number(name, text)
    cameras = int(values["cameras"])
    if not 1 <= values["camera"] <= cameras:
        raise Refused(f"{uri} has the cameras 1 to {cameras}; take one of them or add cameras={int(values['camera'])}")
    whole = {name: int(values[name]) for name in WHOLE}
    return _Wanted(**whole, seconds=values["seconds"], fps=values["fps"])


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise Refused(f"synth://city: {name} is a number, not '{text}'; write {name}={DEFAULTS[name]:g}") from error
    if not math.isfinite(value) or (name in WHOLE and value != int(value)):
        raise Refused(f"synth://city: {name} is a whole number, not '{text}'; write {name}={DEFAULTS[name]:g}")
    return int(text) if text.isdecimal() else value  # a float has not all digits of a large seed
