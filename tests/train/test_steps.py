"""What is said of steps: lines every so many of them, and TensorBoard's events, with no step twice after --resume."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vreid.models.errors import Refused
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.steps import Events, Step, StepLog, events_in, records, trim


def lines_of(every: int, steps: int, epochs: int, seconds: float, quiet: float = 0.0, first: int = 1) -> list[str]:
    """The lines of a training whose steps of 8 pictures take `seconds` each, begun at its step `first`."""
    said: list[str] = []
    now = 0.0
    log = StepLog(every, epochs, said.append, quiet, lambda: now)
    for total in range(first, steps * epochs + 1):
        now += seconds
        epoch, number = divmod(total - 1, steps)
        within = (number + 1) * seconds if total - number >= first else (total - first + 1) * seconds
        log(Step(epoch + 1, number + 1, steps, {"triplet": 0.5, "similarity": 1.25}, 3.5e-4, 8, within))
    return said


def test_a_line_says_where_a_training_is() -> None:
    said = lines_of(every=4, steps=10, epochs=2, seconds=0.5)
    assert len(said) == 5
    assert said[0] == (
        "epoch 1/2  step 4/10  triplet 0.500  similarity 1.250  lr 0.00035  16.0 pictures/s  0:00:08 left"
    )
    assert [line.split("  ")[1] for line in said] == ["step 4/10", "step 8/10", "step 2/10", "step 6/10", "step 10/10"]
    assert said[-1].endswith("16.0 pictures/s  0:00:00 left")
    assert lines_of(every=1, steps=1000, epochs=30, seconds=1)[0].endswith("8:19:59 left")


def test_the_pace_is_that_since_the_start_after_resuming_too() -> None:
    said = lines_of(every=4, steps=10, epochs=2, seconds=0.5, first=11)
    assert said[0].startswith("epoch 2/2  step 4/10") and said[0].endswith("16.0 pictures/s  0:00:03 left")


def test_no_line_floods_the_log() -> None:
    assert lines_of(every=0, steps=10, epochs=2, seconds=1) == []
    assert len(lines_of(every=100, steps=1000, epochs=2, seconds=0.001, quiet=10)) == 0
    assert len(lines_of(every=100, steps=1000, epochs=2, seconds=0.01, quiet=9.9)) == 2
    assert len(lines_of(every=100, steps=1000, epochs=2, seconds=1, quiet=10)) == 20


def written_in(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of everything in the files of events in `folder`."""
    event = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed").Event
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for _, content in records(path.read_bytes()):
            one = event.FromString(content)
            found += [(value.tag, one.step, value.simple_value) for value in one.summary.value]
    return found


def trained(job: Job, cut_off: tuple[int, int] | None = None) -> None:
    """Train with events in out/tensorboard, and break off after (epoch from 0, step) `cut_off`."""
    events = Events(job.out / "tensorboard")

    def on_step(step: Step) -> None:
        events.step(step)
        if (step.epoch - 1, step.number) == cut_off:
            raise KeyboardInterrupt

    try:
        train(replace(job, on_step=on_step, on_epoch=events.epoch))
    except KeyboardInterrupt:
        assert cut_off is not None
    finally:
        events.close()


def test_events_hold_every_step_once_after_resuming_too(job: Job) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    trained(job, cut_off=(2, 2))  # 4 epochs, validated after 2 and 4
    broken_off = {step for tag, step, _ in written_in(job.out / "tensorboard") if tag == "rate"}
    assert broken_off == set(range(1, max(broken_off) + 1))
    said: list[dict[str, Any]] = []
    events = Events(job.out / "tensorboard")

    def say(record: dict[str, Any]) -> None:
        said.append(record)
        events.epoch(record)

    train(replace(job, resume=True, on_step=events.step, on_epoch=say))
    events.close()
    found = written_in(job.out / "tensorboard")
    assert max(Counter((tag, step) for tag, step, _ in found).values()) == 1
    steps: Callable[[str], list[int]] = lambda tag: sorted(step for name, step, _ in found if name == tag)  # noqa: E731
    assert steps("rate") == steps("loss/total") == list(range(1, max(steps("rate")) + 1))
    assert {f"loss/{name}" for name in said[-1]["losses"]} < {tag for tag, *_ in found}
    assert steps("validation/shapes/mAP") == steps("validation/shapes/Rank-1") == [steps("epoch")[1], steps("epoch")[3]]
    last = {tag: value for tag, step, value in found if step == steps("epoch")[3]}
    assert len(steps("epoch")) == 4 and steps("epoch")[3] == max(steps("rate"))
    assert last["validation/shapes/mAP"] == pytest.approx(said[-1]["validation"]["shapes"]["map"], abs=1e-3)


def test_the_share_of_a_compressed_student_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    events = Events(tmp_path)
    events.step(Step(1, 1, 1, {"triplet": 0.5}, 1e-3, 8, 0.1))
    events.epoch({"epoch": 1, "share": 0.75, "macs": 3000, "params": 200})
    events.close()
    assert {("pruning/share", 1, 0.75), ("pruning/macs", 1, 3000.0)} <= set(written_in(tmp_path))


def test_a_record_that_was_cut_off_goes_and_damage_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    events = Events(tmp_path)
    for number in (1, 2, 3):
        events.step(Step(1, number, 3, {"triplet": 0.5}, 1e-3, 8, 0.1))
    events.close()
    (path,) = tmp_path.glob("events.*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    trim(path, path.read_bytes(), events_in(path.read_bytes(), path), 2)
    assert {step for _, step, _ in written_in(tmp_path)} == {1, 2}
    path.write_bytes(whole[:12] + b"\xff" * 8 + whole[20:])
    with pytest.raises(Refused, match="is damaged; move it"):
        trim(path, path.read_bytes(), events_in(path.read_bytes(), path), 2)
