"""Which features stand for a vehicle: near ones of one view are averaged, at most a handful are kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.records import Prototype
from vreid.runtime.gallery.store import Store
from vreid.runtime.records import Floats

LIGHTEST = 0.01  # a quality of 0 still counts a little


@dataclass(frozen=True)
class Rule:
    """At most `most` prototypes a vehicle; a feature within a cosine of `above` of one of its view is averaged into it."""

    most: int = 8
    above: float = 0.9


def unit(features: Floats, dim: int) -> Floats:
    """(N, D) of any length -> (N, D) float32 of unit length. Raises Refused for another D, a NaN, or a zero row."""
    rows = np.ascontiguousarray(features, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise Refused(
            f"features of shape {rows.shape} do not fit a gallery of dimension {dim}; use the gallery's own model"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise Refused("a feature is zero or not finite; verify the model with 'vreid doctor' and export it again")
    return np.asarray(rows / lengths, np.float32)


def averaged(kept: Prototype, feature: Floats, weight: float, count: int = 1) -> Prototype | None:
    """`kept` with a unit feature (D,), made of `count`, averaged in by quality, of unit length again.

    None when the two cancel out.
    """
    total = kept.weight * kept.feature + weight * feature
    length = float(np.linalg.norm(total))
    if length < 1e-12:
        return None
    mean = np.asarray(total / length, np.float32)
    return Prototype(kept.id, kept.view, mean, kept.weight + weight, kept.count + count)


def matching_prototype(kept: Sequence[Prototype], view: str, feature: Floats, above: float) -> Prototype | None:
    """The prototype of the same view that a unit feature (D,) belongs to: the nearest, when its cosine is `above`."""
    same = [prototype for prototype in kept if prototype.view == view]
    if not same:
        return None
    cosines = np.stack([prototype.feature for prototype in same]) @ feature  # (n,)
    best = int(np.argmax(cosines))
    return same[best] if cosines[best] >= above else None


def surplus(kept: Sequence[Prototype], most: int) -> list[Prototype]:
    """What is dropped when more than `most` are kept: the lightest, of equals the newest."""
    heaviest_first = sorted(kept, key=lambda prototype: (-prototype.weight, prototype.id))
    return heaviest_first[most:]


def with_prototype(kept: list[Prototype], new: Prototype, above: float) -> list[Prototype]:
    """`kept` with `new` averaged into the near one of its view, or at the end."""
    home = matching_prototype(kept, new.view, new.feature, above)
    mean = averaged(home, new.feature, new.weight, new.count) if home else None
    return [*kept, new] if mean is None else [mean if old is home else old for old in kept]


def with_feature(kept: list[Prototype], view: str, feature: Floats, weight: float, rule: Rule) -> list[Prototype]:
    """`kept` with a unit feature (D,) by the rule. A new prototype gets the next id of the list, none of the store's."""
    new = Prototype(1 + max((old.id for old in kept), default=0), view, feature, weight, 1)
    every = with_prototype(kept, new, rule.above)
    gone = {old.id for old in surplus(every, rule.most)}
    return [old for old in every if old.id not in gone]


def rebuild(store: Store, rule: Rule, vehicle: int, views: Collection[str] | None = None, partly: bool = False) -> int:
    """Make the prototypes of `views` (None: of all cameras that saw the vehicle) from its sightings; how many there are.

    Prototypes of other views, such as enrolled ones, stay, and so does a view of which a sighting has no feature, unless
    `partly`: they cannot be made again. Belongs inside a transaction.
    """
    sightings = store.sightings(vehicle)
    wanted = {one.camera for one in sightings} if views is None else set(views)
    if not partly:
        wanted -= {one.camera for one in sightings if not one.feature}
    kept = store.prototypes(vehicle)
    replaced = [old.id for old in kept if old.view in wanted]
    store.delete_prototypes(replaced)
    room = replace(rule, most=max(rule.most - (len(kept) - len(replaced)), 0))
    made: list[Prototype] = []
    for row in store.sighting_rows(vehicle):
        if row.feature is not None and row.camera in wanted:
            feature = unit(row.feature[None].astype(np.float32), store.about.dim)[0]
            made = with_feature(made, row.camera, feature, max(row.quality, LIGHTEST), room)
    for prototype in made:
        store.add_prototype(vehicle, prototype)
    return len(made)
