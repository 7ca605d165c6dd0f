"""`vreid.track`: vehicles in videos and live cameras, each with the id that it has in a gallery."""

import math
import os
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from vreid.models.errors import BadInput, WrongModel, unusable
from vreid.models.preprocess import Image
from vreid.runtime.api import Gallery, Model, checked_threads, checked_threshold, load
from vreid.runtime.arguments import checked
from vreid.runtime.open_site import opened_site
from vreid.runtime.pipeline import Run
from vreid.runtime.public_models import models_folder, with_public_model
from vreid.runtime.records import FinishedTrack, Floats, Ints, Match, Trace, kind_name
from vreid.runtime.session import Session, site_of

_ROOM = 256  # sightings of live cameras that wait for a slow reader


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
class Sighting:
    """One pass of a vehicle through the view of one camera: a finished track. The fields are those of a line of sightings.jsonl.

    Attributes:
        camera: the name of the camera.
        track: the number of the track, from 1 within the camera.
        vehicle: its id in the gallery; None: unknown.
        name: its name in the gallery; None: unknown.
        known: whether the gallery knew it before.
        score: the cosine that decided, without what the site's cameras and vehicles have in common unless the threshold is
            fixed; None where there was no vehicle to compare with.
        threshold: the least that would have been enough.
        calibrated: where the threshold comes from: "fixed", "manifest", "site (1200 pairs)".
        answer: "known", "new", "doubtful" (a second vehicle passed too, or the nearest missed the threshold by little), or
            "withheld": unknown, and kept from being enrolled.
        maybe: the id of that vehicle; None: there is none.
        withheld: why it was not enrolled although it is unknown: "alarm" (too many new vehicles at once), "quality" (no crop
            is good enough); None: nothing was withheld.
        kind: "car", "truck", "bus", "motorcycle" or "vehicle".
        plate: what a reader of licence plates read, if there is one.
        first_time: seconds on the source's own clock.
        last_time: likewise.
        frames: (T,) numbers of the frames in which it was seen, from 0.
        boxes: (T, 4) its boxes in them, x1 y1 x2 y2 in pixels.
        feature: (D,) float32 of unit length, of the whole track.
        picture: (H, W, 3) uint8 BGR, its best crop.
    """

    camera: str
    track: int
    vehicle: int | None
    name: str | None
    known: bool
    score: float | None
    threshold: float
    calibrated: str
    answer: str
    maybe: int | None
    withheld: str | None
    kind: str
    plate: str | None
    first_time: float
    last_time: float
    frames: Ints = field(repr=False)
    boxes: Floats = field(repr=False)
    feature: Floats = field(repr=False)
    picture: Image = field(repr=False)


@checked
def track(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
    model: Model | str | PathLike[str],
    gallery: Gallery | None = None,
    detector: str = "motion",
    *,
    enrol_unknown: bool | None = None,
    threshold: float | None = None,
    false_match_rate: float = 0.05,
    topology: str | PathLike[str] | None = None,
    began: datetime | None = None,
    embed: Literal["smart", "every"] = "smart",
    threads: int = 1,
) -> Generator[Sighting]:
    """Follow vehicles through videos or live cameras, and give each the id that it has in the gallery.

    Sightings of files come when all files were read, since the identities of all tracks are decided together; those of live
    cameras come as they end. Leaving the loop early, or closing the iterator, stops the cameras.

    Args:
        sources: files, folders, or addresses such as "gate=rtsp://host/path" (`vreid run --help`); one or several.
        model: a model, or what `load` takes.
        gallery: where vehicles are looked up; None takes an empty one that lasts for this call.
        detector: "motion", "model:FILE", "model:NAME" of a public model that `vreid get NAME` has fetched, or "replay:FOLDER"
            with boxes of your own.
        enrol_unknown: give unknown vehicles a new id; None: only where no gallery is given.
        threshold: the least cosine of a known vehicle, fixed; None takes the one that the gallery was opened with, or else this
            site's, which is learnt from vehicles that were seen at the same time (docs/operations.md).
        false_match_rate: the share of new vehicles that may get the id of another one, which this site's threshold keeps to.
        topology: a cameras.toml, how long vehicles take from camera to camera (docs/operations.md).
        began: when the first frames of files were taken; None: now.
        embed: which crops are embedded: "smart" those that add something, "every" all of them.
        threads: CPU threads of the detector.

    Raises:
        Refused: a source cannot be read, a public model was not fetched, no vehicle was found in the files, or the gallery cannot
            be written to.
        WrongModel: the gallery is of another model.
        BadInput: a value of another type.
    """
    model = model if isinstance(model, Model) else load(model)
    if gallery is not None and gallery.model.manifest.fingerprint != model.manifest.fingerprint:
        raise WrongModel(
            f"the gallery is of {gallery.model.name} and the model is {model.name}; give both the same model"
        )
    level = None if gallery is None else gallery.fixed_threshold
    if threshold is not None:
        level = checked_threshold(model, threshold)
    texts = [_text(source) for source in ([sources] if isinstance(sources, str | PathLike) else sources)]
    if not texts:
        raise BadInput("there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/")
    checked_threads(threads)
    if gallery is None and enrol_unknown is False:
        raise BadInput("enrol_unknown=False needs a gallery to search; give one, or leave enrol_unknown out")
    session = Session(
        sources=texts,
        model=model.name,
        detector=with_public_model(detector, models_folder(os.environ)),  # an entry, as the command line is
        enrol_unknown=gallery is None if enrol_unknown is None else enrol_unknown,
        threshold=level,
        false_match_rate=false_match_rate,
        topology=None if topology is None else Path(topology),
        began=began,
        embed=embed,
        threads=threads,
    )
    return _sightings(session, model, gallery)


def _text(source: str | PathLike[str]) -> str:
    """A source as a text. A path is a file or a folder, also where its text would be an address: a=b.mp4, 0, ~.mp4."""
    text = fspath(source)
    return text if isinstance(source, str) or Path(text).is_absolute() else f"./{text}"


def _sightings(session: Session, model: Model, gallery: Gallery | None) -> Generator[Sighting]:
    """Everything is opened when the first sighting is requested, and closed with the iterator."""
    with ExitStack() as stack:
        results = _Results()
        try:
            opened = stack.enter_context(opened_site(site_of(session), model.embedder))
            stored = stack.enter_context(opened.gallery()) if gallery is None else gallery.stored
            run = Run(opened.parts(opened.identifier(stored), [results] if opened.live else [], results.stop))
            if not opened.live:
                with stored.transaction() if stored.writable else nullcontext():
                    outcome = run.to_the_end()
        except OSError as error:
            raise unusable(error) from error
        if opened.live:
            yield from results.of(run)
            return
        for finished, match, trace in outcome.identified:
            yield _sighting(finished, match, trace)


class _Results:
    """The output of a live run that hands its sightings to another thread."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._queue: queue.Queue[Sighting | BaseException | None] = queue.Queue(_ROOM)

    def sighting(self, finished: FinishedTrack, match: Match, trace: Trace) -> None:
        """Waits while the reader is behind."""
        self._put(_sighting(finished, match, trace))

    def close(self, summary: Mapping[str, Any]) -> None:
        """The summary is not handed on."""

    def of(self, run: Run) -> Iterator[Sighting]:
        """The sightings of `run`, which a thread carries out; the run is stopped when the iterator is closed."""
        worker = threading.Thread(target=self._work, args=(run,), name="track", daemon=True)
        worker.start()
        try:
            while (item := self._queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.stop.set()
            worker.join()

    def _work(self, run: Run) -> None:
        try:
            run.to_the_end()
            self._put(None)
        except BaseException as failure:  # noqa: BLE001  raised where the sighting is requested
            self._put(failure)

    def _put(self, item: Sighting | BaseException | None) -> None:
        """Put `item`; nobody reads any more once `stop` is set."""
        while not self.stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.2)
                return


def _sighting(finished: FinishedTrack, match: Match, trace: Trace) -> Sighting:
    return Sighting(
        camera=finished.camera,
        track=finished.track,
        vehicle=match.vehicle,
        name=match.name,
        known=match.known,
        score=match.score if math.isfinite(match.score) else None,
        threshold=match.threshold,
        calibrated=match.calibrated,
        answer=match.answer,
        maybe=match.maybe,
        withheld=match.withheld,
        kind=kind_name(finished.kind),
        plate=finished.plate,
        first_time=finished.first_time,
        last_time=finished.last_time,
        frames=trace.frames,
        boxes=trace.boxes,
        feature=finished.feature,
        picture=finished.picture,
    )
