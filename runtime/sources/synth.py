"""`synth://city?camera=1&seed=7`: one camera of the procedural scene as a source, and its ground truth."""

import math
import threading
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.sources.file import FrameSequence
from vreid.runtime.sources.live import LiveSource
from vreid.runtime.sources.table import Source
from vreid.synth.city import Scene, Truth, city

CAMERAS = 3  # of a city whose URI does not say how many
DEFAULTS = {
    "camera": 1.0, "seed": 7.0, "vehicles": 12.0, "seconds": 20.0, "cameras": float(CAMERAS), "fps": 10.0, "live": 0.0,
}  # fmt: skip
WHOLE = ("camera", "seed", "vehicles", "cameras", "live")


@dataclass(frozen=True)
class _Wanted:
    camera: int
    seed: int
    vehicles: int
    seconds: float
    cameras: int
    fps: float
    live: int


def open_synth(uri: str, camera: str) -> Source:
    """The camera that the URI numbers, from 1, called `camera`; frames are drawn as they are taken.

    The query takes camera, seed, vehicles, seconds, cameras, fps and live. All cameras of the same other parameters see the
    same vehicles. With live=1 it is a live camera: the scene passes again and again, by this machine's clock, the same for
    all cameras. Refused for another place, an unknown parameter, or a number that makes no scene.
    """
    wanted = _wanted(uri)
    scene, number = _scene(wanted), wanted.camera
    if wanted.live:
        return LiveSource(camera, lambda: (_Passing(scene, number), scene.fps), f"{uri} gives no picture")
    size = scene.views[number - 1].size
    return FrameSequence(camera, scene.fps, size, scene.frames, lambda index: scene.frame(number, index))


class _Passing:
    """The scene as a live camera shows it: a picture when it is time for one, drawn when it is wanted."""

    def __init__(self, scene: Scene, camera: int) -> None:
        self._scene, self._camera = scene, camera
        self._over = threading.Event()
        self._shown = int(time.time() * scene.fps)

    def read(self) -> tuple[bool, "_Drawing | None"]:
        """Wait for the next picture; none once it is released."""
        self._shown = max(self._shown + 1, int(time.time() * self._scene.fps))
        if self._over.wait(max(0.0, self._shown / self._scene.fps - time.time())):
            return False, None
        return True, _Drawing(self._scene, self._camera, self._shown % self._scene.frames, time.monotonic())

    def release(self) -> None:
        self._over.set()


@dataclass(frozen=True)
class _Drawing:
    """A picture that is drawn when it is wanted."""

    scene: Scene
    camera: int
    index: int
    taken: float

    def __call__(self) -> Image:
        return self.scene.frame(self.camera, self.index)


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
