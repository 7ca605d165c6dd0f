"""What `vreid train` puts together: the target of a compression, checked pictures, a checkpoint to start as, and teachers."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vreid.cli import output
from vreid.cli.measuring import count_learnt
from vreid.deploy.model import open_model
from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.pruning import insert
from vreid.models.zoo import is_checkpoint
from vreid.train.data.checking import SKIPPED, Checked, check, keep, refuse_broken, write_skipped
from vreid.train.data.records import Dataset
from vreid.train.devices import Place, wait
from vreid.train.job import EARLIER, Start
from vreid.train.pruning.costs import Costs, read_costs, write_costs
from vreid.train.recipe import Recipe
from vreid.train.recipes.limits import HIGHEST, LOWEST, MOST
from vreid.train.recipes.targets import milliseconds, with_multiple, with_target
from vreid.train.teacher import Teacher, teacher_of_file

if TYPE_CHECKING:
    from vreid.cli.train import Settings, Target


def targeted(recipe: Recipe, target: "Target", kept: Path, resume: bool) -> tuple[Recipe, Costs | None]:
    """The recipe with that target, and the costs measured where it is a latency; they are kept in the file `kept`, so
    that a resumed training goes on with the same ones."""
    if target.multiple is not None:
        recipe = with_multiple(recipe, target.multiple)
    given = [name for name in ("macs", "params", "latency") if getattr(target, f"target_{name}") is not None]
    if len(given) > 1:
        raise Refused(f"give one target, not --target-{given[0]} and --target-{given[1]}")
    if target.target_latency is None and target.engine is not None:
        raise Refused("--engine is where a --target-latency is measured; give that too, or leave --engine out")
    if target.target_macs is not None:
        return with_target(recipe, target.target_macs, "macs"), None
    if target.target_params is not None:
        return with_target(recipe, target.target_params, "params"), None
    if target.target_latency is None:
        return recipe, None
    wanted = milliseconds(target.target_latency)
    with_target(recipe, 0.5, "ms")  # refused now for a recipe without a budget, not after the measurement
    costs = read_costs(kept) if resume and kept.exists() else _measured(recipe, target.engine or "onnxruntime")
    engine = costs.engine or target.engine or "onnxruntime"
    if target.engine not in (None, engine):
        raise Refused(
            f"{kept} was measured on {engine}; resume with --engine {engine}, or begin anew with another --out"
        )
    if wanted >= costs.whole():
        raise Refused(
            f"the uncompressed network takes {costs.whole():.2f} ms here already; give a --target-latency under that"
        )
    output.console().print(
        f"uncompressed {costs.whole():.2f} ms on {engine}, of which {wanted / costs.whole():.0%} are to be left"
    )
    write_costs(costs, kept)
    return with_target(recipe, wanted / costs.whole(), "ms"), costs


def with_shares(words: Sequence[Path]) -> tuple[list[Path], tuple[float, ...]]:
    """The paths of FOLDER=SHARE, and the shares of all, together 1; none where no data set has one. A path that is there counts
    as it stands. Raises Refused for a share that is 0, or that only some have."""
    split = [
        None if word.exists() else re.fullmatch(r"(.+)=([0-9]+(?:\.[0-9]*)?|\.[0-9]+)", str(word)) for word in words
    ]
    paths = [Path(found[1]) if found else word for word, found in zip(words, split, strict=True)]
    shares = [float(found[2]) for found in split if found]
    if not shares:
        return paths, ()
    if len(shares) < len(words) or not all(0 < share < math.inf for share in shares):
        raise Refused("give every data set a share over 0, as in roadside=2 highway=1, or none of them")
    return paths, tuple(share / sum(shares) for share in shares)


def _measured(recipe: Recipe, engine: str) -> Costs:
    """What a channel of the recipe's network costs on the engine, with one thread."""
    from vreid.deploy.latency import latency_costs

    network = ReidNetwork(recipe.network).eval()
    sites = insert(network, recipe.capacity is not None and recipe.capacity.both_sides)
    multiple = 1 if recipe.capacity is None else recipe.capacity.multiple
    with output.counting(f"latency on {engine}") as count:
        return latency_costs(network, sites, engine, multiple=multiple, report=count)


KEPT = "pictures.json"


def checked_pictures(sets: Sequence[Dataset], out: Path, skip_broken: bool, place: Place) -> Checked:
    """Every picture read once; broken ones are refused, or said where they are to be left out. What was found is kept
    in the folder `out` where that is there already, or some are broken; else the caller keeps it when the training has begun."""
    kept = out / KEPT
    if not place.leads:
        wait(place)  # for the leading process to read them
    with output.counting("checking pictures") as count:
        found = check(sets, kept, count)
    if place.leads and (out.exists() or found.faults or place.world > 1):
        keep(found, kept)
    if place.leads:
        wait(place)
    if not skip_broken:
        refuse_broken(found)
    if place.leads:
        write_skipped(out, found)
    if found.faults and place.leads:
        names = ", ".join(str(path) for path in list(found.faults)[:5])
        more = ", ..." if len(found.faults) > 5 else ""
        output.note(
            f"{len(found.faults)} broken pictures of {len(found.keys)} are left out ({out / SKIPPED}): {names}{more}"
        )
    return found


def started(recipe: Recipe, word: str, dim: int | None) -> tuple[Recipe, Start]:
    """The recipe for the network of the checkpoint `word`, and what the training begins as. `dim` is what --dim says.

    Raises Refused for what is not a checkpoint that can be learnt from, and for a recipe that begins as something else.
    """
    if not is_checkpoint(word):
        raise Refused(
            f"--start takes a checkpoint (.pt or .pth) of vreid train, not {word}; weights of a body only are for --weights, "
            "and docs/training.md says where the checkpoints of the bundled models are"
        )
    if recipe.inherit:
        raise Refused(
            "the recipe begins as its teacher (inherit), so it takes no --start; leave it out, or choose a recipe that does not"
        )
    checkpoint = load_checkpoint(word)
    network = network_from(checkpoint, classifier=True)
    config = replace(checkpoint.config, classes=0)
    if dim not in (None, config.dim):
        raise Refused(f"--dim {dim} does not fit {word}, whose embedding has {config.dim}; leave one of the two out")
    side = recipe.sizes[-1][1] if recipe.sizes else 0
    sizes = recipe.sizes if (side, side) == (config.height, config.width) else ()
    start = Start(network, vehicles_of(checkpoint.metrics), checkpoint.trained)
    return replace(recipe, network=config, sizes=sizes, imagenet=False), start


def vehicles_of(metrics: dict[str, Any]) -> str:
    """The digest of the vehicles that a checkpoint's classifier numbers; "" where it has none."""
    return str(metrics.get("classes", EARLIER if "vehicles" in metrics else ""))


def learnt_before(words: Sequence[str], validation: Sequence[Dataset]) -> Iterator[str]:
    """A sentence for each checkpoint of `words` that learnt from pictures which are held out here."""
    held = [item for part in validation for item in part.query]
    for word in filter(is_checkpoint, words):
        if count := count_learnt(load_checkpoint(word).learnt_keys(), held):
            yield (
                f"{word} learnt from {count} of the {len(held)} pictures that are held out here to choose the epoch: these figures "
                "are too good; give the --validation and the --seed of its training"
            )


def opened_teachers(
    words: Sequence[str], recipe: Recipe, threads: int, device: str
) -> tuple[Checkpoint | None, list[Teacher]]:
    """(the checkpoint of online distillation or None, the teachers that embed every picture once).

    A recipe with online distillation takes the first checkpoint for it, and its embeddings too only where it distils.
    """
    if words and not recipe.distil and recipe.online is None:
        raise Refused("the recipe does not learn from a teacher (distil is 0); choose a student's or give no --teacher")
    online: Checkpoint | None = None
    cached: list[Teacher] = []
    for word in words:
        if recipe.online is not None and online is None and is_checkpoint(word):
            online = load_checkpoint(word)
        if not recipe.distil:
            continue
        if word.endswith(".npz"):
            cached.append(teacher_of_file(Path(word)))
        elif word.lower().endswith((".xml", ".onnx")):
            raise Refused(
                f"{word} is a bare network; embed the data by vreid cache-teacher, and give the .npz with --teacher"
            )
        else:
            model = open_model(word, threads or torch.get_num_threads(), device)
            cached.append(Teacher(word, model.fingerprint, model.embed))
    for place, teacher in enumerate(cached):
        if twins := [other.name for other in cached[:place] if other.space == teacher.space]:
            raise Refused(f"{twins[0]} and {teacher.name} are one teacher; give each once")
    if recipe.online is not None and online is None and words:
        raise Refused(
            "the recipe learns from a teacher at every step; give its checkpoint .pt with --teacher (those of the bundled models "
            "are in bench/checkpoints of the repository)"
        )
    return online, cached


def with_settings(recipe: Recipe, settings: "Settings") -> Recipe:
    """The recipe with the flags that were given. Raises Refused for a value that cannot be trained with."""
    given = {name: value for name, value in asdict(settings).items() if value is not None}
    if "lr" in given and not (math.isfinite(given["lr"]) and 0 < given["lr"] <= 10):
        raise Refused(f"--lr {given['lr']} is not a learning rate; give a number over 0 and up to 10")
    if given.get("optimiser", "sgd") not in ("adamw", "sgd"):
        raise Refused(f"there is no optimiser '{given['optimiser']}'; choose adamw or sgd with --optimiser")
    for name, lowest in (("p", 2), ("k", 2), ("dim", 1)):
        if name in given and not lowest <= given[name] <= MOST:
            raise Refused(f"--{name} {given[name]} is out of range; give {lowest} to {MOST}")
    network = {"dim": given.pop("dim")} if "dim" in given else {}
    if "size" in given:
        network["height"], network["width"] = _size(given.pop("size"))
        given["sizes"] = ()
    return replace(recipe, **given, network=replace(recipe.network, **network))


def _size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of N or HEIGHTxWIDTH."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(LOWEST <= side <= HIGHEST for side in sides):
        raise Refused(
            f"--size {text} is not a size of an input; give N or HEIGHTxWIDTH in pixels, each {LOWEST} to {HIGHEST}"
        )
    return sides
