"""Whether each camera of a live run is there, as notices for outputs: online, offline, stalled."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from vreid.runtime.records import Notice
from vreid.runtime.status import CameraStatus

EVERY_S = 1.0
State = Literal["online", "offline", "stalled", "removed"]


class CameraStates:
    """Compares what is now with what was said last.

    `offline`: the camera has not answered yet, or its connection is lost and sought anew; `stalled`: it gives no picture, though
    nobody ended its connection; `removed`: it was taken out of the site.
    """

    def __init__(self) -> None:
        self._said: dict[str, tuple[State, str | None]] = {}
        self._reconnects: dict[str, int] = {}  # of each camera when it gave its newest picture

    def changes(self, cameras: Mapping[str, CameraStatus], now: float) -> list[Notice]:
        """A notice of each camera whose state, or whose fault (black, blank, frozen), is another one; `now` since 1970."""
        states = {name: (self._state(name, camera), camera.fault) for name, camera in cameras.items() if camera.live}
        states |= {name: ("removed", None) for name in self._said if name not in cameras}
        new = {name: state for name, state in states.items() if self._said.get(name) != state}
        self._said |= new
        return [
            Notice("cameras", name, now, {"state": state, "fault": fault}, keep=True)
            for name, (state, fault) in new.items()
        ]

    def _state(self, name: str, camera: CameraStatus) -> State:
        if camera.alive:
            self._reconnects[name] = camera.reconnects
            return "online"
        return "stalled" if self._reconnects.get(name) == camera.reconnects else "offline"


class CameraStateReporter:
    """A context, as long as the run: looks every `every` seconds, in a thread of its own. What fails there ends the run by `stop`,
    as it does in the run's other threads, and is raised when the context ends."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, CameraStatus]],
        notify: Callable[[Notice], None],
        stop: threading.Event,
        every: float = EVERY_S,
    ) -> None:
        self._look, self._notify, self._stop, self._every = look, notify, stop, every
        self._failure: BaseException | None = None
        self._states, self._over = CameraStates(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="camera states", daemon=True)

    def __enter__(self) -> "CameraStateReporter":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def _work(self) -> None:
        try:
            while True:
                for notice in self._states.changes(self._look(), time.time()):
                    self._notify(notice)
                if self._over.wait(self._every):
                    return
        except BaseException as failure:  # noqa: BLE001  raised by __exit__
            self._failure = failure
            self._stop.set()
