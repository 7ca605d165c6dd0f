"""A server that is killed again and again amid edits, and clients that repeat: what was acknowledged is there, once."""

import random
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest
from made_site import MadeSite, served_apart

import vreid
from vreid.cli.main import main
from vreid.runtime.gallery import read_gallery

CLIENTS = 4
PATIENCE = (0.0, *[0.25] * 1200)  # a server needs some seconds to begin


class Editor(threading.Thread):
    """A client that enrols, renames, merges and undoes in turn, until it is stopped; `done` is what was acknowledged."""

    def __init__(self, url: str, token: str, number: int, crop: Path) -> None:
        super().__init__(daemon=True)
        self._client = vreid.Client(url, token, patience=PATIENCE)
        self._number, self._crop = number, crop.read_bytes()
        self.stop, self.acknowledged = threading.Event(), threading.Semaphore(0)
        self.done: list[tuple[str, str]] = []  # the verb, and the name that it is known by
        self.failed: Exception | None = None

    def run(self) -> None:
        count = 0
        try:
            while not self.stop.is_set():
                self._turn(f"{self._number}-{count}")
                count += 1
        except Exception as error:  # noqa: BLE001  the test raises it
            self.failed = error
            self.acknowledged.release()

    def _turn(self, name: str) -> None:
        """Two vehicles are enrolled, one is renamed, both are merged, and every other merge is taken back."""
        first, second = (self._enrolled(f"{name}-{letter}") for letter in "ab")
        self._client.rename(first, f"{name}-named")
        self._acknowledge("rename", f"{name}-named")
        change = self._client.merge(first, second)["done"]["change"]
        self._acknowledge("merge", str(change))
        if self._number % 2:
            self._client.undo(change)
            self._acknowledge("undo", str(change))

    def _enrolled(self, name: str) -> int:
        new = self._client.enrol([self._crop], name=name, anyway=True)["done"]["id"]
        self._acknowledge("enrol", name)
        return int(new)

    def _acknowledge(self, verb: str, name: str) -> None:
        self.done.append((verb, name))
        self.acknowledged.release()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_what_was_acknowledged_before_a_kill_is_there_once(made_site: MadeSite, rounds: int) -> None:
    port, moments = free_port(), random.Random(24)
    crops = made_site.crops()
    editors = [
        Editor(f"http://127.0.0.1:{port}", made_site.given["edit"], number, crops[number]) for number in range(CLIENTS)
    ]
    with read_gallery(made_site.gallery) as gallery:
        last = gallery.changes(1)[0].id
    for round_ in range(rounds):
        with served_apart(made_site, "--requests-a-minute", "1000000", port=port) as server:
            assert server.process is not None
            if round_ == 0:
                for editor in editors:
                    editor.start()
            for _ in range(moments.randint(1, 12)):
                moments.choice(editors).acknowledged.acquire(timeout=300)
            threading.Event().wait(moments.random() * 0.05)
            server.process.kill()
    for editor in editors:
        editor.stop.set()
    with served_apart(made_site, "--requests-a-minute", "1000000", port=port):
        for editor in editors:
            editor.join(300)
            assert editor.failed is None, editor.failed
    check(made_site, last, Counter(done for editor in editors for done in editor.done))


def check(site: MadeSite, last: int, acknowledged: "Counter[tuple[str, str]]") -> None:
    """Everything that was acknowledged is in the audit once, nothing else is, and the gallery is whole."""
    with read_gallery(site.gallery) as gallery:
        changes = [one for one in gallery.changes() if one.id > last]
        names = Counter(one.name for one in gallery.vehicles(thumbnails=False))
    written = Counter[tuple[str, str]]()
    for one in changes:
        name = {"enrol": one.detail.get("name"), "rename": one.detail.get("to"), "merge": str(one.id)}.get(one.verb)
        if one.verb == "undo":
            name = str(next(change.id for change in changes if change.undone == one.id))
        written[(one.verb, str(name))] += 1
    assert written == acknowledged and set(acknowledged.values()) == {1}
    assert max(names.values()) == 1
    assert main(["gallery", "check", "--gallery", str(site.gallery)]) == 0
    print(f"{sum(acknowledged.values())} edits were acknowledged: {Counter(verb for verb, _ in acknowledged)}")
