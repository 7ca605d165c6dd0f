"""All regions of a centre at once: which vehicles people have called the same, and who looks like whom anywhere."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vreid.fleet.centre.settings import CentreSettings, RegionSettings
from vreid.models.errors import NotFound, Refused
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.proposals import Answer, Proposal, Proposals, State
from vreid.runtime.gallery.records import Filter, SightingInfo
from vreid.runtime.gallery.store import Store
from vreid.runtime.records import Floats
from vreid.runtime.site_threshold import UNSEEN, SiteThreshold

VERB = "answer across regions"  # as the audit calls it
Galleries = Mapping[str, Gallery]  # by region


class Place(NamedTuple):
    """One vehicle of one region."""

    region: str
    vehicle: int

    def __str__(self) -> str:
        return f"{self.region}:{self.vehicle}"


@dataclass(frozen=True)
class Hit:
    """A vehicle that was found, or several of different regions that people have called the same: with the best score of them."""

    place: Place
    name: str
    score: float
    known: Literal["known", "doubtful", "no"]
    same: tuple[Place, ...] = ()  # all of them, where it is more than one


@dataclass(frozen=True)
class Search:
    """What `search` has found among `compared` vehicles, and from which cosine on one of so many is known."""

    hits: list[Hit]
    compared: int
    threshold: float


@dataclass(frozen=True)
class Pair:
    """A proposal as people see it; `id` is REGION/NUMBER."""

    id: str
    one: Place
    other: Place
    names: tuple[str, str]
    proposal: Proposal


@contextmanager
def opened(settings: CentreSettings, write: bool = False) -> Iterator[dict[str, Gallery]]:
    """The gallery of every region, each searched exactly. Raises Refused where one cannot be opened: what is found in some
    regions only is not found in all."""
    with ExitStack() as stack:
        yield {region.name: stack.enter_context(gallery_of(settings, region, write)) for region in settings.regions}


def gallery_of(settings: CentreSettings, region: RegionSettings, write: bool) -> Gallery:
    """One region's, searched exactly. Raises Refused."""
    about = settings.space.about
    return open_gallery(region.gallery, fingerprint=about.fingerprint, dim=about.dim, model=about.model, write=write)


def proposals_of(store: Store) -> Proposals:
    """What a gallery in a database keeps of other regions."""
    found = store.proposals()
    assert found is not None  # settings let no gallery in a file pass
    return found


def least(settings: CentreSettings, compared: int) -> float:
    """The cosine from which on a vehicle is known among so many: the model's, or more where it was made for fewer."""
    rate = min(region.false_match_rate for region in settings.regions)
    return SiteThreshold(settings.space.match, rate).level(UNSEEN, UNSEEN, float(max(compared, 1))).threshold


def found(galleries: Galleries, text: str) -> Place:
    """REGION:VEHICLE, or a name that one region has. Raises NotFound, and Refused where two regions have it."""
    for region in sorted(galleries, key=len, reverse=True):
        if text.startswith(f"{region}:"):
            try:
                return Place(region, galleries[region].find(text[len(region) + 1 :]))
            except NotFound:
                raise NotFound(
                    f"the region {region} has no vehicle '{text[len(region) + 1 :]}'; 'vreid gallery list' of its gallery has all"
                ) from None
    places = []
    for region, gallery in galleries.items():
        try:
            places.append(Place(region, gallery.find(text)))
        except NotFound:
            continue
    if not places:
        raise NotFound(
            f"no region has a vehicle '{text}'; write REGION:NAME or REGION:ID, such as {next(iter(galleries))}:12"
        )
    if len(places) > 1:
        raise Refused(f"'{text}' is a vehicle of several regions; write {' or '.join(map(str, places))}")
    return places[0]


def features_of(gallery: Gallery, vehicle: int) -> Floats:
    """(P, D) of what stands for a vehicle."""
    rows = [one.feature for one in gallery.prototypes(vehicle)]
    return np.stack(rows) if rows else np.empty((0, gallery.about.dim), np.float32)


def search(
    settings: CentreSettings, galleries: Galleries, features: Floats, k: int, without: Collection[Place] = ()
) -> Search:
    """The best `k` of all regions for features (P, D) of one vehicle, by the best cosine of any of them, but for `without`.
    Raises Refused for no feature."""
    if not len(features):
        raise Refused("there is no feature of this vehicle to search by; name another one")
    compared = sum(gallery.size()[0] for gallery in galleries.values()) - len(without)
    threshold, groups = least(settings, compared), same_groups(galleries)
    in_one = (max(Counter(place.region for place in group).values()) for group in {*groups.values()})
    largest = max(in_one, default=1)  # so many of one region may be one hit
    scores: dict[Place, tuple[float, str]] = {}
    for region, gallery in galleries.items():
        for best in gallery.search(features, k * largest + sum(place.region == region for place in without)):
            for one in best:
                place = Place(region, one.vehicle)
                if place not in without and one.score > scores.get(place, (-2.0, ""))[0]:
                    scores[place] = (one.score, one.name)
    hits = dict[frozenset[Place], Hit]()
    for place, (score, name) in sorted(scores.items(), key=lambda one: (-one[1][0], one[0])):
        group = groups.get(place, frozenset({place}))
        doubtful: Literal["doubtful", "no"] = "doubtful" if score >= settings.space.match.threshold else "no"
        known = "known" if score >= threshold else doubtful
        hits.setdefault(group, Hit(place, name, score, known, tuple(sorted(group)) if len(group) > 1 else ()))
    return Search([*hits.values()][:k], compared, threshold)


def same_groups(galleries: Galleries) -> dict[Place, frozenset[Place]]:
    """Of each vehicle that people have called the same as another one's: all that are the same. Those that were removed since
    are in none."""
    return grouped((pair.one, pair.other) for pair in pairs(galleries, "same"))


def grouped(same: Iterable[tuple[Place, Place]]) -> dict[Place, frozenset[Place]]:
    """Who is the same as who is the same."""
    groups: dict[Place, frozenset[Place]] = {}
    for one, other in same:
        joined = groups.get(one, frozenset({one})) | groups.get(other, frozenset({other}))
        groups.update(dict.fromkeys(joined, joined))
    return groups


def pairs(galleries: Galleries, state: State | None = None) -> list[Pair]:
    """The proposals of all regions in a state, or in any, the best first, but for those of which one vehicle is gone."""
    rows = []
    for region, gallery in galleries.items():
        with gallery.reading() as store:
            kept = [one for one in proposals_of(store).pairs(state) if one.region in galleries]
        for one in kept:
            places = Place(region, one.vehicle), Place(one.region, one.other)
            rows.append((f"{region}/{one.id}", *places, one))
    called = _called(galleries, {place for _, one, other, _ in rows for place in (one, other)})
    made = [
        Pair(id_, one, other, (called[one], called[other]), proposal)
        for id_, one, other, proposal in rows
        if one in called and other in called
    ]
    return sorted(made, key=lambda pair: (-pair.proposal.score, pair.id))


def _called(galleries: Galleries, places: Collection[Place]) -> dict[Place, str]:
    """The names of those that there are."""
    called: dict[Place, str] = {}
    for region, gallery in galleries.items():
        with gallery.reading() as store:
            named = store.names([place.vehicle for place in places if place.region == region])
        called |= {Place(region, vehicle): name for vehicle, name in named.items()}
    return called


def last_seen(galleries: Galleries, place: Place) -> SightingInfo | None:
    """The newest sighting of a vehicle; None: it has none."""
    newest = galleries[place.region].latest_sightings(Filter(ids=(place.vehicle,)), limit=1)
    return newest[0] if newest else None


def answered(galleries: Galleries, id_: str, answer: Answer) -> tuple[Place, Place]:
    """What a person says of a proposal, who may say another thing later; both galleries' audits have it. Raises NotFound."""
    region, _, number = id_.rpartition("/")
    if region not in galleries or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise NotFound(f"there is no proposal '{id_}'; 'vreid centre proposals' lists them, such as north/3")
    gallery = galleries[region]
    with gallery.transaction() as store:
        done = proposals_of(store).answer(int(number), answer, gallery.who)
        if done is None or done.region not in galleries:
            raise NotFound(f"there is no proposal '{id_}'; 'vreid centre proposals' lists them")
        there = galleries[done.region]
        one, other = Place(region, done.vehicle), Place(done.region, done.other)
        if not _called(galleries, [other]):
            raise NotFound(
                f"{other} was removed since, and the proposal goes at the next pass; there is nothing to answer"
            )
        store.add_change(gallery.who, VERB, one.vehicle, {"of": str(other), "answer": answer})
        with there.transaction() as far:
            far.add_change(there.who, VERB, other.vehicle, {"of": str(one), "answer": answer})
    return one, other
