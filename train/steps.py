"""The report of a training's steps: a line in a log every so many steps, and TensorBoard's events."""

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vreid.models.errors import Refused
from vreid.models.files import write_atomic

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

QUIET = 10.0  # seconds at least between two lines of a log whose --log-every nobody chose


@dataclass(frozen=True)
class Step:
    """One step: epoch and number from 1, of `steps` in an epoch; `losses` by name, learning rate, pictures in all processes'
    batches, and the seconds since its epoch began."""

    epoch: int
    number: int
    steps: int
    losses: dict[str, float]
    rate: float
    pictures: int
    seconds: float


class StepLog:
    """Writes a line every `every` steps of the training (0: none), and no sooner than `quiet` seconds after the last one.

    Call it with every step. The remaining time counts validation in, at the pace since the start or --resume.
    """

    def __init__(
        self,
        every: int,
        epochs: int,
        write: Callable[[str], None],
        quiet: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every, self.epochs, self.write, self.quiet, self.clock = every, epochs, write, quiet, clock
        self.began: float | None = None
        self.done, self.last = 0, (0, 0.0)

    def __call__(self, step: Step) -> None:
        """Count the step, and write its line where one is due."""
        now = self.clock()
        if self.began is None:
            self.began = now - step.seconds
            self.last = (0, self.began)
        self.done += 1
        if not self.every or self.done % self.every or now - self.last[1] < self.quiet:
            return
        pace = step.pictures * (self.done - self.last[0]) / max(now - self.last[1], 1e-9)
        left = ((self.epochs - step.epoch + 1) * step.steps - step.number) * (now - self.began) / self.done
        self.last = (self.done, now)
        losses = "  ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
        self.write(
            f"epoch {step.epoch}/{self.epochs}  step {step.number}/{step.steps}  {losses}  lr {step.rate:.3g}  "
            f"{pace:.1f} pictures/s  {_hours(left)} left"
        )


def _hours(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def refuse_without_tensorboard() -> None:
    """Raises Refused where TensorBoard's events cannot be written."""
    try:
        import tensorboardX  # noqa: F401
    except ModuleNotFoundError as error:
        raise Refused(
            "--tensorboard needs the package tensorboardX; install it with pip install 'vreid[tensorboard]'"
        ) from error


class Events:
    """TensorBoard's events of a training, in `folder`: losses and rate by step, validation and pruning by epoch.

    The files open with the first step, and lose then what an interrupted epoch left of the steps that are done again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: EventsWriter | None = None
        self.total = 0

    def step(self, step: Step) -> None:
        """The losses and the rate of a step."""
        if self.writer is None:
            self.writer = self._opened(step)
        self.total += 1  # counted, since epochs differ in their steps
        losses = {f"loss/{name}": value for name, value in step.losses.items()}
        self._write({**losses, "loss/total": sum(step.losses.values()), "rate": step.rate})

    def epoch(self, record: dict[str, Any]) -> None:
        """The validation and the pruning in the record of an epoch, at its last step."""
        values: dict[str, float] = {"epoch": record["epoch"]}
        for name, scores in record.get("validation", {}).items():
            values |= {f"validation/{name}/mAP": scores["map"], f"validation/{name}/Rank-1": scores["rank1"]}
        self._write(
            values | {f"pruning/{name}": record[name] for name in ("share", "macs", "params") if name in record}
        )

    def close(self) -> None:
        """Write what is not written yet."""
        if self.writer is not None:
            self.writer.close()

    def _opened(self, step: Step) -> "EventsWriter":
        # the writer under tensorboardX's SummaryWriter, without its thread: what is written is on disk after each step
        from tensorboardX.event_file_writer import EventsWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        before = sorted(self.folder.glob("events.out.tfevents.*"))
        self.total = 0 if step.epoch == 1 else (step.epoch - 1) * step.steps  # where no event has it
        contents = {path: path.read_bytes() for path in before}
        events = {path: events_in(content, path) for path, content in contents.items()}
        for found in events.values():
            self.total = end_of(found, step.epoch - 1, self.total)
        for path, found in events.items():
            trim(path, contents[path], found, self.total)
        # its name has the second, and two starts in one would share a file
        return EventsWriter(str(self.folder / "events"), f".{len(before)}")

    def _write(self, values: dict[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self.writer is not None and values:
            said = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
            self.writer.write_event(Event(wall_time=time.time(), step=self.total, summary=said))
            self.writer.flush()


def end_of(events: "list[tuple[bytes, Any]]", epoch: int, otherwise: int) -> int:
    """The last step of `epoch` in (record, event) of a file, `otherwise` where none of them has it."""
    for _, event in events:
        if any(value.tag == "epoch" and value.simple_value == epoch for value in event.summary.value):
            return int(event.step)
    return otherwise


def events_in(content: bytes, path: Path) -> "list[tuple[bytes, Any]]":
    """(a record, its event) of the content of the file `path`. Raises Refused for a damaged file."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    try:
        return [(record, Event.FromString(event)) for record, event in records(content)]
    except DecodeError as error:
        raise Refused(f"{path} is damaged; move it out of the folder, and go on with --resume") from error


def trim(path: Path, content: bytes, events: "list[tuple[bytes, Any]]", last: int) -> None:
    """Take out of the file `path` the events of later steps than `last`, and a record that was cut off at its end."""
    kept = b"".join(record for record, event in events if event.step <= last)
    if kept != content:
        write_atomic(path, kept)


def records(whole: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(a record, the event in it) of a TFRecord file: length (8 bytes), its check (4), the event, its check (4)."""
    at = 0
    while at + 12 <= len(whole):
        (length,) = struct.unpack_from("<Q", whole, at)
        end = at + 12 + length + 4
        if end > len(whole):
            return
        yield whole[at:end], whole[at + 12 : end - 4]
        at = end
