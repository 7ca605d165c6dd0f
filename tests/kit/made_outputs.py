"""Outputs of a run for tests: a sighting to send, and outputs that are started."""

import socket
import time

import numpy as np

from vreid.runtime.records import FinishedTrack, Match, Trace
from vreid.runtime.sinks.table import open_outputs


def sighted(track=1, camera="gate", vehicle=7):
    """A sighting, its decision and its way."""
    picture = np.random.default_rng(track).integers(0, 256, (240, 90, 3), dtype=np.uint8)
    feature = np.ones(4, np.float32) / 2
    sighting = FinishedTrack(
        camera, track, 0, 9, 0.0, 0.9, 2, feature, 3, 0.5, picture, seen=1_760_000_000.1234, plate="B-XY 12"
    )
    boxes = np.tile(np.float32([10, 20, 50, 40]), (10, 1))
    return sighting, Match(vehicle, "blue van", 0.8, True), Trace(np.arange(10), boxes, np.full(10, 0.9, np.float32))


def until(condition, seconds=60.0):
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def all_started(uris, run="run", flush_s=5.0):
    outputs = open_outputs(uris, run, flush_s)
    for output in outputs:
        output.start()
    return outputs


def started(uri, run="run", flush_s=5.0):
    return all_started([uri], run, flush_s)[0]
