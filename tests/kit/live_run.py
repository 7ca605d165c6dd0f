"""A live run in this thread, while a test's steps go on in another one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from vreid.cli.main import main


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def run_during(steps: Callable[[], None], words: Sequence[str], number: int = signal.SIGTERM) -> None:
    """`vreid WORDS`, ended by the signal `number` when `steps` have; raises what they raise, and it has to end well. The signal
    is not ignored meanwhile, as nohup has SIGHUP ignored."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            steps()
        except BaseException as failure:  # noqa: BLE001  raised below
            failed.append(failure)
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=work, daemon=True)
    ignored = signal.signal(number, signal.SIG_DFL)
    try:
        thread.start()
        code = main(words)
        thread.join()
    finally:
        signal.signal(number, ignored)
    if failed:
        raise failed[0]
    assert code == 0
