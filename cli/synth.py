"""`vreid synth city|crops`: a synthetic scene as videos with ground truth, or as a data set of crops."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.models.errors import Refused, refuse_beyond, refuse_outside, refuse_seed
from vreid.models.files import atomic_folder

MOST_BODIES = 100_000


@dataclass(frozen=True)
class City:
    """One video a camera, cam1.mp4 and on, and its ground truth in the MOT layout, gt_cam1.txt and on."""

    out: Path
    """A folder; made when it is not there, refused when something is in it."""
    seed: int = 7
    """Another number gives other vehicles and another traffic."""
    vehicles: int = 12
    """How many drive."""
    seconds: float = 20.0
    """How long each video is."""
    cameras: int = 3
    """How many cameras stand along the road."""
    fps: float = 10.0
    """Frames a second."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Crops:
    """Pictures of synthetic vehicles under random cameras: images/*.jpg, and a list that says which vehicle each is: train.csv, or
    test.csv with --test."""

    out: Path
    """A folder; made when it is not there, refused when something is in it."""
    vehicles: int = 200
    """How many identities."""
    cameras: int = 8
    """How many cameras, each of its own pose and light."""
    per_camera: int = 4
    """Crops of each vehicle under each camera."""
    seed: int = 0
    """Another number gives other vehicles and cameras."""
    bodies: int = 0
    """Bends of each kind's shape, so that many vehicles differ in their bodies; the list gets a column `group` with the body's
    name. 0: each kind has its one shape."""
    test: bool = False
    """Data to measure on: the list is called test.csv in place of train.csv. Take another --seed than for the training."""
    json: bool = False
    """Print one JSON document."""


Args = Annotated[City, tyro.conf.subcommand("city")] | Annotated[Crops, tyro.conf.subcommand("crops")]


def main(args: City | Crops) -> int:
    return _city(args) if isinstance(args, City) else _crops(args)


def _city(args: City) -> int:
    import cv2

    from vreid.synth.city import city
    from vreid.synth.vehicle import COCO

    refuse_seed(args.seed)
    refuse_beyond(1000, cameras=args.cameras)
    scene = city(args.seed, args.vehicles, args.seconds, args.cameras, args.fps)
    boxes = []
    with _new_folder(args.out) as out, output.progress() as bar:
        task = bar.add_task("drawing", total=args.cameras * scene.frames)
        for camera, view in enumerate(scene.views, start=1):
            path, lines = out / f"cam{camera}.mp4", []
            video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), scene.fps, view.size)
            if not video.isOpened():
                raise Refused(f"{args.out / path.name} cannot be written; check the folder's permissions and the disk")
            try:
                for index in range(scene.frames):
                    video.write(scene.frame(camera, index))
                    for row in scene.truth(camera, index):
                        kind = COCO[scene.passages[row.vehicle - 1].vehicle.kind]
                        box = f"{row.x:.2f},{row.y:.2f},{row.w:.2f},{row.h:.2f}"
                        lines.append(f"{index + 1},{row.vehicle},{box},1,{kind},{row.visibility:.3f}\n")
                    bar.advance(task)
            finally:
                video.release()
            (out / f"gt_cam{camera}.txt").write_text("".join(lines), encoding="utf-8")
            boxes.append(len(lines))
    if args.json:
        output.document({"out": str(args.out), "frames": scene.frames, "fps": scene.fps, "boxes": boxes})
    else:
        rows = [(f"cam{camera}.mp4", scene.frames, count) for camera, count in enumerate(boxes, start=1)]
        output.table(str(args.out), ("video", "frames", "boxes"), rows)
    return 0


def _crops(args: Crops) -> int:
    import csv

    import cv2

    from vreid.synth.crops import training_crops, training_vehicle

    refuse_seed(args.seed)
    refuse_beyond(vehicles=args.vehicles, cameras=args.cameras, per_camera=args.per_camera)
    refuse_outside("--bodies", args.bodies, 0, MOST_BODIES)
    crops = training_crops(args.seed, args.vehicles, args.cameras, args.per_camera, args.bodies)
    drawn = [training_vehicle(args.seed, number, args.bodies) for number in range(args.vehicles)]
    rows: list[tuple[str, int, str, str, str]] = []
    with _new_folder(args.out) as out, output.progress() as bar:
        (out / "images").mkdir()
        task = bar.add_task("drawing", total=args.vehicles * args.cameras * args.per_camera)
        for vehicle, camera, image in crops:
            path = f"images/{vehicle:05d}_c{camera:02d}_{len(rows):06d}.jpg"
            if not cv2.imwrite(str(out / path), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
                raise Refused(f"{args.out / path} cannot be written; check that the disk has room")
            kind, body = drawn[vehicle - 1].kind, drawn[vehicle - 1].body
            rows.append((path, vehicle, f"cam{camera:02d}", kind, f"{kind}~{body}"))
            bar.advance(task)
        with (out / ("test.csv" if args.test else "train.csv")).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            columns = 5 if args.bodies else 4
            table.writerow(("path", "vehicle", "camera", "type", "group")[:columns])
            table.writerows(row[:columns] for row in rows)
    counts = {"images": len(rows), "vehicles": len({row[1] for row in rows}), "cameras": len({row[2] for row in rows})}
    if args.json:
        output.document({"out": str(args.out), **counts})
    else:
        output.table(str(args.out), tuple(counts), [tuple(counts.values())])
    return 0


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the body succeeds. Raises Refused for a folder that holds something."""
    from vreid.runtime.camera_names import valid_text

    if not valid_text(str(path.resolve())):  # OpenCV crashes on it
        raise Refused("--out lies at a path that is not valid UTF-8; take another one")
    if path.is_dir() and any(path.iterdir()):
        raise Refused(f"the folder {path} is not empty; take another --out, or empty it first")
    with atomic_folder(path) as folder:
        yield folder
