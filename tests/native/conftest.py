"""What the two languages are held against each other by: the built programs, and a gallery of C++ that Python drives."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vreid.models.errors import Refused


@pytest.fixture(scope="session")
def built(root: Path) -> Callable[[str], Path]:
    """Where a program was built: build/native, or the folder in VREID_NATIVE_BUILD. Skips by the name of what is not there."""
    folder = Path(os.environ.get("VREID_NATIVE_BUILD") or root / "build" / "native")

    def found(name: str) -> Path:
        every = [path for path in sorted(folder.rglob(name)) if path.is_file()]
        if not every:
            pytest.skip(
                f"{name} was not built: cmake -S . -B build/native -DVREID_NATIVE=ON, then cmake --build build/native"
            )
        return every[0]

    return found


class Driver:
    """A process of C++ with one gallery open; see gallery_driver.cpp."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, verb: str, **fields: Any) -> None:
        """A command, without waiting for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": verb, **fields}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """The next answer. Raises Refused for a refusal."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the driver ended with {self.process.wait()}"
        answer = json.loads(line)
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["ok"]

    def call(self, verb: str, **fields: Any) -> Any:
        """A command and its answer."""
        self.send(verb, **fields)
        return self.receive()


Drive = Callable[[], Driver]


@pytest.fixture
def drive(built: Callable[[str], Path]) -> Iterator[Drive]:
    """Starts drivers, which end with the test."""
    program, running = built("gallery-driver"), list[Driver]()

    def started() -> Driver:
        running.append(Driver(program))
        return running[-1]

    yield started
    for driver in running:
        driver.process.communicate()
        assert driver.process.returncode in (0, -signal.SIGKILL)  # a leak that a sanitizer has found says otherwise
