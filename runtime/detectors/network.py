"""Detectors that are networks: a file of ONNX or OpenVINO IR, recognised by their answer, or of the type that the address names."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused, shown
from vreid.runtime.detectors.classes import COCO, Kinds, chosen_kinds, kinds_of, listed, names_by_file
from vreid.runtime.detectors.graph import Arrays, Graph, Inputs, inputs_of, open_graph
from vreid.runtime.detectors.heads import HEADS, Answer, Head, Match, Wanted
from vreid.runtime.detectors.pictures import COLOURS, FITS, PIXELS, SAME, Form, fitted, merged, placed, tiles_of
from vreid.runtime.detectors.table import numbers_of
from vreid.runtime.records import Detections, Floats, Frame

_LOG = logging.getLogger("vreid")
LEAST_FIRST = 0.3  # a lower --min-score wants tracks of weaker boxes, but not of noise
NUMBERS = {"tiles": (1.0, 1.0, 8.0), "height": (0.0, 0.0, 8192.0), "width": (0.0, 0.0, 8192.0)}
CHOICES = {"fit": FITS, "colour": COLOURS, "pixels": PIXELS}
TEXTS = ("classes", "vehicles")


@dataclass(frozen=True)
class _Recognised:
    """The type that a graph turned out to be of."""

    head: Head
    match: Match
    names: Sequence[str]  # of its classes, empty where nobody says


class NetworkDetector:
    """A graph and how to read it; no state of a camera."""

    least_travel = 0.0

    def __init__(
        self,
        graph: Graph,
        inputs: Inputs,
        recognised: _Recognised,
        form: Form,
        kinds: Kinds,
        min_score: float | None,
        tiles: int,
    ) -> None:
        first = recognised.head.first
        self.first_score = first if min_score is None else min(first, max(LEAST_FIRST, min_score))
        self._graph, self._inputs, self._head, self._places = graph, inputs, recognised.head, recognised.match.outputs
        self._form, self._tiles = form, tiles
        labels, self.kinds = sorted(kinds), frozenset(kinds.values())
        self._wanted = Wanted(
            np.asarray(labels, np.int64), np.asarray([kinds[label] for label in labels], np.int64),
            recognised.head.least if min_score is None else min_score, inputs.height, inputs.width,
        )  # fmt: skip

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """All tiles of all frames go through the network together where its batch is open and its type has batches."""
        parts = [tiles_of(frame.image.shape[0], frame.image.shape[1], self._tiles) for frame in frames]
        fits = [
            fitted(frame.image, tile, self._inputs.height, self._inputs.width, self._form)
            for frame, tiles in zip(frames, parts, strict=True)
            for tile in tiles
        ]
        answers = iter(self._answers([pixels for pixels, _ in fits]))
        places = iter([place for _, place in fits])
        same = self._head.same if self._tiles == 1 else SAME
        return [
            merged([placed(self._head.decode(next(answers), self._wanted), next(places)) for _ in tiles], same)
            for tiles in parts
        ]

    def forget(self, camera: str) -> None:
        """There is nothing to forget: each frame is looked at for itself."""

    def _answers(self, pictures: list[Floats]) -> list[Arrays]:
        """The outputs that the type reads, in its order, of each picture."""
        together = self._inputs.dynamic and self._head.batches
        batches = [pictures] if together and pictures else [[picture] for picture in pictures]
        found = []
        for batch in batches:
            outputs = self._graph.run(self._inputs.feeds(np.stack(batch)))
            read = [outputs[place] for place in self._places]
            if len(batch) == 1:
                found.append(read)
                continue
            if any(len(array) != len(batch) for array in read):
                raise Refused(
                    f"{self._graph.path} gave {_shapes(read)} for {len(batch)} pictures; export it with a batch of 1"
                )
            found += [[array[place : place + 1] for array in read] for place in range(len(batch))]
        return found


def open_network(
    target: str, options: Mapping[str, str], *, threads: int, min_score: float | None, head: str = ""
) -> NetworkDetector:
    """`target`: an .onnx, or an .xml of OpenVINO; `head`: the name in HEADS, empty: as its answer shows.

    Options: `tiles` (2 looks at 2 x 2 parts besides the whole), `classes` (names in the network's order), `vehicles` (those of
    them that count), `fit`, `colour`, `pixels`, and `height` and `width` of a graph that leaves them open. Raises Refused for
    a file that is not a detector, one that could be of two types, and one without a class of vehicles.
    """
    kind = head or "model"
    path = Path(target)
    if not target or not path.is_file():
        raise Refused(
            f"there is no {'YOLOX ' if head == 'yolox' else ''}file '{shown(target)}'; write {kind}:FILE with the path of an ONNX "
            "file, or of an .xml of OpenVINO"
        )
    texts = {name: value for name, value in options.items() if name in (*CHOICES, *TEXTS)}
    numbers = numbers_of(kind, {k: v for k, v in options.items() if k not in texts}, NUMBERS, (*CHOICES, *TEXTS))
    for name, allowed in CHOICES.items():
        if name in texts and texts[name] not in allowed:
            raise Refused(f"the option {name} of the detector '{kind}' is one of {', '.join(allowed)}")
    graph = open_graph(path, threads)
    inputs = inputs_of(graph, int(numbers["height"]), int(numbers["width"]))
    names = [name.strip() for name in texts["classes"].split(",")] if "classes" in texts else _names(graph)
    recognised = _recognised(graph, inputs, head, names)
    usual = recognised.head.form
    form = Form(*(texts.get(name, getattr(usual, name)) for name in CHOICES))
    kinds = _kinds(graph.path, recognised, texts)
    return NetworkDetector(graph, inputs, recognised, form, kinds, min_score, int(numbers["tiles"]))


def _names(graph: Graph) -> Sequence[str]:
    return graph.names or names_by_file(graph.path.stem)


def _recognised(graph: Graph, inputs: Inputs, head: str, names: Sequence[str]) -> _Recognised:
    """The type of the graph, by its answer to a grey picture. Raises Refused where that is none, or not a single one."""
    grey = np.full((1, 3, inputs.height, inputs.width), 0.5, np.float32)
    output_names = [port.name for port in graph.outputs]
    answer = Answer(output_names, graph.run(inputs.feeds(grey)), inputs.height, inputs.width)
    looked = [head] if head else list(HEADS)
    found = {name: match for name in looked if (match := HEADS[name].match(answer, len(names))) is not None}
    own = [name for name in found if HEADS[name].names and HEADS[name].names <= set(output_names)]
    if len(found) > 1 and len(own) == 1:
        found = {own[0]: found[own[0]]}
    gives = ", ".join(
        f"{name} {' x '.join(map(str, array.shape))}" for name, array in zip(output_names, answer.arrays, strict=True)
    )
    if not found:
        forms = "; ".join(f"{name}: {HEADS[name].gives}" for name in looked)
        known = f" of {len(names)} classes" if names else ""
        raise Refused(
            f"{graph.path} gives {gives}, and a detector{known} of this input gives {forms}; export it again so, or replay: "
            "its boxes (docs/detectors.md)"
        )
    if len(found) > 1:
        choice = " or ".join(f"{name}:{graph.path}" for name in found)
        raise Refused(f"{graph.path} gives {gives}, which fits {' and '.join(found)}; say which it is: {choice}")
    ((name, match),) = found.items()
    return _Recognised(HEADS[name], match, names)


def _kinds(path: Path, recognised: _Recognised, texts: Mapping[str, str]) -> Kinds:
    """The classes that are vehicles: those chosen, by name, or COCO's. Raises Refused where there is none."""
    classes = recognised.match.classes
    if "vehicles" in texts:
        kinds = chosen_kinds(texts["vehicles"], recognised.names)
    elif recognised.names:
        kinds = kinds_of(recognised.names)
        if not kinds:
            raise Refused(
                f"none of the classes of {path} is a vehicle ({listed(recognised.names)}); give another "
                "network, or name those that count: ?vehicles=NAME,NAME"
            )
    elif classes in COCO:
        kinds = COCO[classes]
    elif classes is None and recognised.head.coco:
        _LOG.warning("%s does not name its classes: taken for the 80 of COCO; else write ?classes=NAME,NAME", path)
        kinds = COCO[80]
    else:
        many = "" if classes is None else f" {classes}"
        raise Refused(
            f"{path} does not name its{many} classes; write ?classes=NAME,NAME in its order, or ?vehicles=0,2"
        )
    beyond = [label for label in kinds if classes is not None and label >= classes]
    if beyond:
        raise Refused(f"{path} has {classes} classes from 0 on, and no class {beyond[0]}; correct ?vehicles=")
    return kinds


def _shapes(arrays: Arrays) -> str:
    return ", ".join(str(array.shape) for array in arrays)


open_yolox = partial(open_network, head="yolox")
open_yolov5 = partial(open_network, head="yolov5")
open_yolov8 = partial(open_network, head="yolov8")
open_yolov10 = partial(open_network, head="yolov10")
open_detr = partial(open_network, head="detr")
open_rfdetr = partial(open_network, head="rfdetr")
open_detr_post = partial(open_network, head="detr-post")
open_ssd = partial(open_network, head="ssd")
open_atss = partial(open_network, head="atss")
