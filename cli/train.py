"""`vreid train teacher|student`: learn from labelled pictures, a student also from a teacher."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vreid.cli import output
from vreid.models.errors import MOST_THREADS, Refused, refuse_outside, refuse_seed, refuse_threads

if TYPE_CHECKING:
    from vreid.train.data.checking import Checked
    from vreid.train.data.records import Dataset
    from vreid.train.devices import Place
    from vreid.train.job import Job, Start
    from vreid.train.recipe import Recipe
    from vreid.train.steps import Step, StepLog

MOST_STEPS = 10**9  # between two lines of a log
USUAL_STUDENT = "student_mobilenet"


@dataclass(frozen=True)
class Settings:
    """Settings of a recipe that have a flag; None keeps the recipe's."""

    lr: float | None = None
    """Learning rate, instead of the recipe's."""
    optimiser: str | None = None
    """adamw or sgd, instead of the recipe's; give a fitting --lr too."""
    p: int | None = None
    """Vehicles in a batch, instead of the recipe's."""
    k: int | None = None
    """Pictures of each vehicle in a batch, instead of the recipe's."""
    size: str | None = None
    """Size of the input in pixels from the first epoch to the last, instead of the recipe's: N, or HEIGHTxWIDTH."""
    dim: int | None = None
    """Dimensions of the embedding, instead of the recipe's."""


@dataclass(frozen=True)
class Target:
    """What a compression leaves; at most one of the three targets."""

    target_macs: float | None = None
    """Share of the uncompressed network's MACs to keep, such as 0.3, in place of that of a recipe with a budget."""
    target_params: float | None = None
    """The same for its parameters."""
    target_latency: str | None = None
    """Milliseconds a picture, such as 5ms, on the engine at hand, measured before the training begins."""
    engine: str | None = None
    """The engine of --target-latency, with one thread; left out: onnxruntime."""
    multiple: int | None = None
    """Kept widths are rounded up to a multiple of this, instead of the recipe's; 8 or 16 suit engines. The target counts it."""


@dataclass(frozen=True)
class Common:
    """Flags of both."""

    data: tyro.conf.UseAppendAction[list[Path]]
    """Required: a folder in a layout of docs/data.md, or a CSV file. Given several times, all are learnt together; FOLDER=SHARE
    weighs them: of roadside=2 and highway=1 a third of every epoch is highway's."""
    out: Path
    """Folder for best.pt, last.pt, log.jsonl, report.html, and teacher caches."""
    weights: str | None = None
    """Weights of the body only, to begin with: a local state dict, checkpoint or .safetensors, a URL, or 'imagenet' to download."""
    start: str | None = None
    """Checkpoint .pt to begin as, body and head, and its classifier where the vehicles are the same: fine-tuning. The network is
    the checkpoint's, the recipe says how it is trained."""
    settings: tyro.conf.OmitArgPrefixes[Settings] = field(default_factory=Settings)
    epochs: int | None = None
    """Instead of the recipe's; warm-up, the constant part and the start of resetting keep their shares of the training."""
    validation: float = 0.1
    """Share of the vehicles held out to choose the best epoch; 0 keeps the last. A compressed student keeps its last anyway."""
    seed: int = 0
    """Of the cut, the batches and the weights; teacher and student must have the same."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    workers: int = 0
    """Processes that decode and augment; 0 does it in between."""
    device: str = "auto"
    """auto, cpu or cuda."""
    skip_broken: bool = False
    """Leave out pictures that are damaged or cannot be read, and say which; without it they are refused before the first epoch."""
    bfloat16: bool = False
    """Multiply in 16 bits on a CPU that can (AVX512-BF16, AMX): about 1.7 times as fast. A GPU does so of itself."""
    resume: bool = False
    """Go on with the training in --out; with a higher --epochs than it was begun with, train longer."""
    log_every: int | None = None
    """Write a line every so many steps on stderr: losses, rate, pictures a second, remaining time. 0 writes none. Without it,
    on a terminal none, and elsewhere every 100 steps, at most one in 10 seconds."""
    tensorboard: bool = False
    """Write TensorBoard's events in OUT/tensorboard: losses and rate by step, validation and pruning by epoch."""
    json: bool = False
    """Print one JSON document at the end."""


@dataclass(frozen=True)
class Teacher(Common):
    """Train a teacher. The default recipe starts from ImageNet: it needs --weights imagenet (a download) or a file."""

    recipe: str = "teacher_mobilenet"
    """teacher_mobilenet, teacher_mobilenet_160 or teacher_efficientnet_lite0 (they need --weights), teacher_resnet50_small or
    teacher_resnet18_small; teacher_resnet101 wants a GPU. Or a TOML file (docs/training.md); vreid recipes NAME prints one to
    begin with."""


@dataclass(frozen=True)
class Student(Common):
    """Train a student, with teachers where they are given. The default recipe starts from ImageNet: it needs --weights, too."""

    recipe: str | None = None
    """Left out: student_mobilenet, which needs --weights. Others: student_resnet18_small; of several teachers
    whiten_mtd_resnet18_small, of few pictures drd_resnet18_small; compressed cdd2_mobilenet, cdd2_mobilenet_160, cdd_mobilenet,
    cdd2_efficientnet_lite0, cdd_resnet50_small, cdd2_resnet50_small (or not: uncompressed_mobilenet,
    uncompressed_resnet50_small; further: tuned_mobilenet_160, which needs --start), and on a GPU cdd_resnet101, cdd2_resnet101.
    Or a TOML file (docs/training.md); vreid recipes NAME prints one to begin with."""
    teacher: tyro.conf.UseAppendAction[list[str]] = field(default_factory=list)
    """Checkpoint, manifest, bundled model, or teacher cache (vreid cache-teacher); a recipe that learns from a teacher's logits or
    blocks, as those that compress, wants one checkpoint. Given several times, the others are fused."""
    fusion: str | None = None
    """How several teachers are fused, instead of the recipe's (or maxmin): maxmin, mean, maxmean, maxrand or rand."""
    whiten: int | None = None
    """Dimensions that each teacher is whitened to, instead of the recipe's; 0 for none."""
    by_camera: bool = False
    """Standardise each teacher's embeddings camera by camera before they are whitened: for one that never saw these cameras."""
    tau: float | None = None
    """Temperature of the similarities that teachers are learnt from by, instead of the recipe's."""
    loss: str | None = None
    """Instead of the recipe's, for one teacher: similarity, rkd, pkt, correlation, csd, rop, raml, d3still, fitnet, ranking."""
    fraction: float = 1.0
    """Share of the training pictures to learn from, drawn without a look at their labels."""
    unlabelled: bool = False
    """Learn from the teachers only."""
    compress: str | None = None
    """cdd or cdd2: compress the recipe's student while it learns, as the bundled recipe of its kind of network does;
    without --recipe the half-width ResNet-50 at 64 pixels."""
    undistilled: tyro.conf.UseAppendAction[list[Path]] = field(default_factory=list)
    """Data set like --data without distillation: learnt from its labels only."""
    target: tyro.conf.OmitArgPrefixes[Target] = field(default_factory=Target)


Args = Annotated[Teacher, tyro.conf.subcommand("teacher")] | Annotated[Student, tyro.conf.subcommand("student")]


def main(flags: Teacher | Student) -> int:
    """Train and say where the best checkpoint lies."""
    import torch

    from vreid.deploy.first_threshold import with_first_match
    from vreid.runtime.engines.processor import has_bfloat16
    from vreid.train.devices import join_processes, leave_processes, started_as
    from vreid.train.loop import train

    _refuse_numbers(flags)
    recipe, start = _recipe(flags)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    place = join_processes(*started_as(), flags.device)
    if flags.bfloat16 and place.leads and place.device.type == "cpu" and not has_bfloat16():
        output.console().print(
            "this processor has no bfloat16 (AVX512-BF16, AMX), so it is emulated; leave --bfloat16 out"
        )
    job, found = _job(flags, recipe, place)
    with _reporting(replace(job, start=start), found, flags) as reporting:
        try:
            best = train(reporting)
        except KeyboardInterrupt:
            output.error(f"interrupted; go on with --resume, from the last whole epoch in {flags.out}")
            return 130
    leave_processes(place)
    if place.leads:
        best = with_first_match(flags.out / "best.pt", job.validation)
        report = _report(flags.out)
        if flags.json:
            output.document({"checkpoint": str(flags.out / "best.pt"), **best.metrics})
        else:
            output.result(f"checkpoint: {flags.out / 'best.pt'}")
            output.result(report)
    return 0


def _refuse_numbers(flags: Teacher | Student) -> None:
    """Raises Refused for numbers that make no sense, and for TensorBoard's events where they cannot be written."""
    from vreid.train.steps import refuse_without_tensorboard

    refuse_threads(flags.threads, least=0)
    refuse_outside("--workers", flags.workers, 0, MOST_THREADS)
    if flags.log_every is not None:
        refuse_outside("--log-every", flags.log_every, 0, MOST_STEPS)
    refuse_seed(flags.seed)
    if flags.tensorboard:
        refuse_without_tensorboard()


def _doubts(flags: Teacher | Student, job: "Job") -> list[str]:
    """What to say where the epoch is chosen on pictures that were learnt from before, or on few vehicles."""
    from vreid.cli.training import learnt_before
    from vreid.train.data.split import few_held

    before = [flags.start or "", *(flags.teacher if isinstance(flags, Student) else ())]
    few = few_held(job.validation)
    return [*learnt_before(before, job.validation), *([] if few is None else [few])]


@contextmanager
def _reporting(job: "Job", found: "Checked", flags: Teacher | Student) -> Iterator["Job"]:
    """The job whose progress is reported: a bar, lines of steps and of epochs on stderr, and TensorBoard's events."""
    from vreid.cli.training import KEPT
    from vreid.train.data.checking import keep
    from vreid.train.steps import Events

    events = Events(flags.out / "tensorboard") if flags.tensorboard else None
    epochs = job.recipe.epochs
    log, doubts = _step_log(flags.log_every, epochs), _doubts(flags, job)
    with output.progress(lines=False) as bar:  # of which the log of steps has more
        task = bar.add_task("epoch", total=None)

        def on_step(step: "Step") -> None:
            log(step)
            if events is not None:
                events.step(step)
            # one bar over the whole training: a bar that is full once counts no more time
            done, whole = (step.epoch - 1) * step.steps + step.number, epochs * step.steps
            bar.update(task, description=f"epoch {step.epoch}/{epochs}", completed=done, total=whole)

        def on_epoch(record: dict[str, Any]) -> None:
            if not (flags.out / KEPT).exists():
                keep(found, flags.out / KEPT)
            if events is not None:
                events.epoch(record)
            while doubts:  # once, when nothing is refused any more
                output.note(doubts.pop(0))
            output.note(_line(record, epochs))

        def on_caching(name: str, done: int, of: int) -> None:
            bar.update(task, description=f"embedding by {Path(name).name}", completed=done, total=of)

        try:
            yield replace(
                job,
                on_step=on_step,
                on_epoch=on_epoch,
                on_caching=on_caching,
                on_cached=lambda queries: output.note(f"{queries} teacher queries"),
                on_missing=lambda n: output.note(f"{n} pictures of the first start are left out from here on"),
                on_note=output.note if flags.json else output.result,
            )
        finally:
            if events is not None:
                events.close()


def _line(record: dict[str, Any], epochs: int) -> str:
    """The record of an epoch in a line."""
    losses = "  ".join(f"{name} {value:.3f}" for name, value in record["losses"].items())
    scores = "  ".join(f"{name} {part['map']:.1f} mAP" for name, part in record.get("validation", {}).items())
    return f"epoch {record['epoch']}/{epochs}  {losses}  {record['seconds']:.0f} s  {_size(record)}{scores}"


def _recipe(flags: Teacher | Student) -> "tuple[Recipe, Start | None]":
    """The recipe as the flags change it, but for a target, which may have to be measured; and what --start begins as."""
    from vreid.cli.training import started, with_settings
    from vreid.train.recipes.file import recipe_of
    from vreid.train.recipes.limits import LONGEST

    recipe, start = recipe_of(flags.recipe) if isinstance(flags, Teacher) else _student_recipe(flags), None
    if flags.start is not None:
        if flags.weights is not None:
            raise Refused("--weights fills a new network's body and --start is a whole network; give one of the two")
        recipe, start = started(recipe, flags.start, flags.settings.dim)
    if flags.epochs is not None:
        if flags.epochs > LONGEST:
            raise Refused(f"--epochs {flags.epochs} is out of range; give 1 to {LONGEST}")
        recipe = replace(recipe, epochs=flags.epochs)
    recipe = with_settings(recipe, flags.settings)
    if recipe.imagenet and flags.weights is None:
        raise Refused(
            f"the recipe {flags.recipe or USUAL_STUDENT} begins from weights; give --weights FILE, --weights imagenet to download, "
            "or --start CHECKPOINT, or choose a recipe that begins without (vreid recipes lists them)"
        )
    return recipe, start


def _job(flags: Teacher | Student, recipe: "Recipe", place: "Place") -> "tuple[Job, Checked]":
    """What is to be trained: data cut in two, for a student its target and its teachers; and what the check of it found."""
    from vreid.cli.training import checked_pictures, with_shares
    from vreid.train.data.checking import keyed, refuse_twice, without
    from vreid.train.data.split import cut, join, refuse_unheld, share_of_pictures
    from vreid.train.data.table import read_train_part
    from vreid.train.folder import open_folder
    from vreid.train.job import Job

    if not flags.data:
        raise Refused("there is nothing to learn from; name a data set with --data FOLDER (docs/data.md)")
    open_folder(flags.out, flags.resume)  # refused before anything is read, measured, embedded or written
    learning: dict[str, Any] = {} if isinstance(flags, Teacher) else _learning(flags, recipe, place)
    paths, shares = with_shares([*flags.data, *(flags.undistilled if isinstance(flags, Student) else ())])
    sets = [read_train_part(path) for path in paths[: len(flags.data)]]
    undistilled = [read_train_part(path) for path in paths[len(flags.data) :]]
    found = checked_pictures([*sets, *undistilled], flags.out, flags.skip_broken, place)
    join([keyed(dataset, found) for dataset in (*sets, *undistilled)])  # refuses a set that is given twice
    refuse_twice([*sets, *undistilled], found)
    refuse_unheld([*sets, *undistilled], flags.validation, flags.seed)

    def parts(dataset: "Dataset", fraction: float = 1.0) -> "tuple[Dataset, Dataset]":
        # what is broken goes last, so that it changes neither the cut nor the share
        first, second = cut(keyed(dataset, found), flags.validation, flags.seed)
        first = share_of_pictures(first, fraction, flags.seed)
        return without(first, found.faults), without(second, found.faults)

    cuts = [parts(dataset, flags.fraction if isinstance(flags, Student) else 1.0) for dataset in sets]
    labelled_only = [parts(dataset) for dataset in undistilled]
    job = Job(
        recipe,
        training=[first for first, _ in cuts],
        validation=[second for _, second in (*cuts, *labelled_only) if second.query],
        out=flags.out,
        place=place,
        seed=flags.seed,
        workers=flags.workers,
        resume=flags.resume,
        weights=flags.weights,
        undistilled=[first for first, _ in labelled_only],
        bfloat16=flags.bfloat16,
        change_epochs=flags.epochs is not None,
        shares=shares,
    )
    return replace(job, **learning), found


def _learning(flags: Student, recipe: "Recipe", place: "Place") -> dict[str, Any]:
    """The fields of a student's job that a teacher's has not: the recipe with its target, and the teachers."""
    import torch

    from vreid.cli.training import opened_teachers, targeted, vehicles_of
    from vreid.models.checkpoint import network_from

    recipe, costs = targeted(recipe, flags.target, flags.out / "costs.json", flags.resume)
    online, cached = opened_teachers(flags.teacher, recipe, flags.threads, flags.device)
    found: dict[str, Any] = {"recipe": recipe, "costs": costs, "teachers": cached}
    if online is None:
        return found
    teacher = network_from(online, classifier=True).to(place.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return found | {"teacher": teacher, "teacher_vehicles": vehicles_of(online.metrics)}


def _step_log(every: int | None, epochs: int) -> "StepLog":
    """Lines of steps on stderr, as --log-every says; where it is not given, few, and none next to a progress bar."""
    from vreid.train.steps import QUIET, StepLog

    if every is None:
        return StepLog(0 if output.console().is_terminal else 100, epochs, output.note, QUIET)
    return StepLog(every, epochs, output.note)


def _size(record: dict[str, Any]) -> str:
    """Of a student that is being compressed, by an epoch's record: what is left, and how many channels each stage has masked."""
    if "share" not in record:
        return ""
    stages = "/".join(str(sum(stage)) for stage in record["masked"])
    return (
        f"{record['macs'] / 1e6:.1f} M MACs ({record['share']:.1%})  {record['params'] / 1e6:.2f} M params  "
        f"masked {stages}  "
    )


def _report(out: Path) -> str:
    """Draw the report of a training; returns where it is or, without matplotlib, how to get it."""
    from vreid.train.report import write_report

    try:
        return f"report: {write_report(out)}"
    except Refused as refused:
        return f"no report: {refused}"


def _student_recipe(flags: Student) -> "Recipe":
    """The recipe with what the flags change of it."""
    from vreid.train.recipes.bundled import compression_for
    from vreid.train.recipes.file import recipe_of
    from vreid.train.recipes.targets import compressing, with_teachers, without_labels

    recipe = recipe_of(flags.recipe or USUAL_STUDENT)
    if flags.compress is not None:
        if flags.recipe is None:
            recipe = compression_for(flags.compress, "resnet50")
        else:
            recipe = compressing(recipe, compression_for(flags.compress, recipe.network.body))
    recipe = with_teachers(
        recipe, len(flags.teacher), flags.fusion, flags.whiten, flags.loss, flags.tau, flags.by_camera
    )
    return without_labels(recipe) if flags.unlabelled or not recipe.labels else recipe
