"""Frames of several cameras, merged: files in step with one clock and lossless, live cameras as they come."""

import queue
import threading
from collections.abc import Iterator, Sequence

from vreid.models.errors import Refused
from vreid.runtime.records import Frame
from vreid.runtime.sources.table import Source


def in_step(sources: Sequence[Source]) -> Iterator[list[Frame]]:
    """Every frame of every source, in order of time; frames less than half a frame apart come together."""
    streams = [iter(source) for source in sources]
    waiting = [next(stream, None) for stream in streams]
    while any(frame is not None for frame in waiting):
        now = min(frame.time for frame in waiting if frame is not None)
        together = []
        for place, (source, frame) in enumerate(zip(sources, waiting, strict=True)):
            half = 0.5 / source.frame_rate if source.frame_rate else 0.0
            if frame is not None and frame.time <= now + half:
                together.append(frame)
                waiting[place] = next(streams[place], None)
        yield together


def as_they_come(sources: Sequence[Source], stop: threading.Event) -> Iterator[list[Frame]]:
    """What the cameras have right now, until `stop` is set or all have ended; a slow camera never holds up the others.

    A thread a source offers one frame at a time and waits until it is taken; newest-frame-wins is the source's own.
    """
    offered: queue.Queue[Frame | BaseException | None] = queue.Queue(maxsize=len(sources))

    def offer(source: Source) -> None:
        try:
            for frame in source:
                if stop.is_set():
                    return
                offered.put(frame)
        except (Refused, OSError, RuntimeError) as error:
            offered.put(error)
        finally:
            offered.put(None)

    for source in sources:
        threading.Thread(target=offer, args=(source,), name=f"read-{source.camera}", daemon=True).start()
    running = len(sources)
    while running and not stop.is_set():
        together: dict[str, Frame] = {}
        try:
            item = offered.get(timeout=0.2)
        except queue.Empty:
            continue
        while True:
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                together[item.camera] = item
            try:
                item = offered.get_nowait()
            except queue.Empty:
                break
        if together:
            yield list(together.values())
