"""The Python interface, exported by `import vreid`: a model that embeds crops and a gallery that finds them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from vreid.models.errors import MOST_THREADS, BadInput, shown
from vreid.models.manifest import Manifest
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.models.zoo import is_checkpoint
from vreid.runtime.arguments import checked, path_text
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import doubts, open_gallery
from vreid.runtime.gallery.doubts import Doubt
from vreid.runtime.gallery.records import EVERYTHING, Filter, Vehicle
from vreid.runtime.gallery.requests import Remove
from vreid.runtime.records import Floats

Crop = Image | str | PathLike[str]  # (H, W, 3) uint8 BGR, or the path of a picture
Kind = Literal["car", "truck", "bus", "motorcycle"]
_BATCH = 32  # pictures that are read at once


class Model:
    """An open model: it turns crops of vehicles into features that can be compared by their cosine. See `load`."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    @property
    def manifest(self) -> Manifest:
        """The model's description: input, output, cost, accuracy and threshold."""
        return self.embedder.manifest

    @property
    def name(self) -> str:
        """The name in the manifest."""
        return self.manifest.name

    @property
    def dim(self) -> int:
        """The length of a feature."""
        return self.manifest.output.dim

    @property
    def threshold(self) -> float:
        """The least cosine of a known vehicle, calibrated for this model; 0.6 where the manifest has none."""
        return self.embedder.threshold

    def embed(self, crops: Crop | Sequence[Crop]) -> Floats:
        """The features of crops.

        Args:
            crops: paths of pictures, or uint8 arrays (H, W, 3) in BGR order, of any size; one or several.

        Returns:
            (N, D) float32, each row of unit length, so that the product of two rows is their cosine.

        Raises:
            BadInput: an array of another shape or type.
            Refused: a picture that is missing or damaged, or an engine that fails.
        """
        rows = _listed(crops)
        parts = [
            self.embedder.embed([_pixels(crop) for crop in rows[start : start + _BATCH]])
            for start in range(0, len(rows), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, dim={self.dim}, backend={self.manifest.backend!r})"


@checked
def load(model: str | PathLike[str], threads: int = 1) -> Model:
    """Open a model.

    Args:
        model: the name of a bundled model such as "vreid-s", or the path of a manifest (.json).
        threads: CPU threads of the engine.

    Raises:
        Refused: there is no such model, or its files do not belong together.
        MissingExtra: its engine needs a package that is not installed.
        BadInput: a value of another type.
    """
    text = path_text(model, "model")
    if is_checkpoint(text):
        raise BadInput(f"{text} is a checkpoint of a training; lower it with 'vreid export' and load the manifest")
    checked_threads(threads)
    return Model(open_embedder(text, threads))


@dataclass(frozen=True)
class Hit:
    """One vehicle that `Gallery.search` found.

    Attributes:
        name: its name in the gallery.
        score: the best cosine to the features of this vehicle, -1 to 1.
        known: whether the score reaches the threshold.
        vehicle: its id in the gallery, which no other vehicle ever gets.
    """

    name: str
    score: float
    known: bool
    vehicle: int


class Gallery:
    """The known vehicles, in one file or database that is bound to one model.

    Args:
        path: the gallery's file; or the text postgresql://user@host/database?gallery=NAME, which needs the extra `postgres`.
        model: the model that the features come from, or what `load` takes; a gallery of another model is refused.
        mode: "a" reads and writes and makes the gallery if it is missing; "r" reads. A file may have one writer and any number
            of readers at a time, a database any number of both.
        index: how it is searched: "flat" (exact), "hnsw", "ivf", "ivfpq" or "gpu".
        threshold: the least cosine of a known vehicle; None takes the model's calibrated one, and in `track` this site's.

    Raises:
        WrongModel: the gallery was made with another model.
        GalleryLocked: another program is writing to it.
        GalleryDamaged: its file is broken.
        BadInput: a value of another type.
        Refused: anything else that keeps it from being opened.
    """

    @checked
    def __init__(
        self,
        path: str | PathLike[str],
        model: Model | str | PathLike[str],
        mode: Literal["a", "r"] = "a",
        *,
        index: str = "flat",
        threshold: float | None = None,
    ) -> None:
        self.model = opened = model if isinstance(model, Model) else load(model)
        self.threshold = checked_threshold(opened, threshold)
        self.fixed_threshold = None if threshold is None else self.threshold
        self.stored = open_gallery(
            path, fingerprint=opened.manifest.fingerprint, dim=opened.dim, model=opened.name, write=mode == "a",
            index=index,
        )  # fmt: skip

    @checked
    def enrol(self, name: str, crops: Crop | Sequence[Crop], kind: Kind | None = None) -> int:
        """Add a vehicle that is known by these crops; returns its id.

        Args:
            name: its name, unique in the gallery without regard to case.
            crops: one or several pictures of it, as `Model.embed` takes them; different views help.
            kind: "car", "truck", "bus" or "motorcycle", for searches by kind.

        Raises:
            BadInput: no crop at all.
            Refused: the name is taken, a picture cannot be read, or the gallery was opened with mode "r".
        """
        rows = _listed(crops)
        if not rows:
            raise BadInput(f"there is no crop of '{name}'; give at least one")
        return self.stored.enrol(name, self.model.embed(rows), _pixels(rows[0]), kind)[0]

    @checked
    def search(self, crop: Crop, k: int = 5, kind: Kind | Literal["vehicle"] | None = None) -> list[Hit]:
        """The vehicles that look most like a crop, best first.

        Args:
            crop: a picture as `Model.embed` takes it.
            k: how many vehicles at most.
            kind: only vehicles of this kind; "vehicle" for those that a detector without kinds found.

        Raises:
            BadInput: more than one crop, or not a picture.
            Refused: k below 1.
        """
        features = self.model.embed(crop)
        if len(features) != 1:
            raise BadInput(f"a search takes one crop, not {len(features)}; call it once for each")
        only = EVERYTHING if kind is None else Filter(kinds=(kind,))
        [found] = self.stored.search(features, k, only=only)
        return [Hit(hit.name, hit.score, hit.score >= self.threshold, hit.vehicle) for hit in found]

    def vehicles(self) -> list[Vehicle]:
        """Every vehicle with its id, name, kind, counts of features and sightings, cameras and time of the last sighting."""
        return self.stored.vehicles(thumbnails=False)

    @checked
    def remove(self, name: str) -> None:
        """Remove the vehicle of this name (or id) and all that was kept of it, for good. Raises Refused if there is none."""
        Remove(vehicle=name).apply(self.stored)

    def doubtful(self) -> list[Doubt]:
        """The sightings that were doubtful, or known only just, and that nobody has judged yet, the oldest first; answers to
        those with `counts` count for the thresholds."""
        return doubts.doubtful(self.stored)

    @checked
    def confirm(self, sighting: int, name: str | None = None) -> int:
        """Say whose a sighting is; returns the vehicle's id.

        Args:
            sighting: its id, as `doubtful` gives it.
            name: the name (or id) of the vehicle that it is of, which gets it; None: of the one that it was given to.

        Raises:
            Refused: there is no such sighting or vehicle, or the gallery was opened with mode "r".
        """
        vehicle = None if name is None else self.stored.find(name)
        return doubts.confirm(self.stored, sighting, vehicle).vehicle

    @checked
    def reject(self, sighting: int) -> int:
        """Say that a sighting is not of the vehicle that it was given to; returns the id of its own, new one.

        Raises Refused where there is no such sighting, where its vehicle has no other one, and in a gallery opened with mode "r".
        """
        return doubts.reject(self.stored, sighting).vehicle

    def calibrate(self) -> None:
        """Let the site's thresholds rest on what was confirmed and rejected too, from the next run on, and take the cameras' bias
        off unless confirmed pairs show that raw features find more.

        Raises Refused for fewer than ten pairs near the threshold, and for a threshold that is frozen.
        """
        doubts.calibrate(self.stored)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.stored.close()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(crops: Crop | Sequence[Crop]) -> list[Crop]:
    """One crop or several, as a list; an array (N, H, W, 3) is N crops. What is not a list counts as one crop."""
    several = crops.ndim == 4 if isinstance(crops, np.ndarray) else isinstance(crops, Iterable)
    return list(crops) if several and not isinstance(crops, str | bytes | bytearray | memoryview) else [crops]  # type: ignore[list-item, arg-type]


def _pixels(crop: Crop) -> Image:
    """The pixels (H, W, 3) of a crop. Raises BadInput for what is not a colour picture of 8 bits."""
    if isinstance(crop, str | PathLike):
        return read_picture(Path(path_text(crop, "a crop")))
    if not isinstance(crop, np.ndarray):
        raise BadInput(f"a crop is a path or a NumPy array, not {type(crop).__name__}; convert it, RGB to BGR too")
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or 0 in crop.shape:
        raise BadInput(f"a crop is uint8 of shape (H, W, 3) in BGR order, not {crop.dtype} of shape {crop.shape}")
    return crop


def checked_threads(threads: int) -> None:
    """Raises BadInput for a number of threads that nothing here can start."""
    if not 1 <= threads <= MOST_THREADS:
        raise BadInput(f"threads must be at least 1 and at most {MOST_THREADS}, not {shown(str(threads))}")


def checked_threshold(model: Model, threshold: float | None) -> float:
    """`threshold`, or the model's. Raises BadInput outside -1 to 1."""
    value = model.threshold if threshold is None else threshold
    if not -1 <= value <= 1:
        raise BadInput(f"a threshold is a cosine from -1 to 1, not {shown(str(value))}")
    return value
