"""Vehicles of one region that look like vehicles of another become proposals, which people answer; nothing is merged."""

import json
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vreid.fleet.centre.across import Galleries, Place, features_of, least, opened, proposals_of
from vreid.fleet.centre.clocks import APART_S
from vreid.fleet.centre.settings import CentreSettings
from vreid.fleet.centre.status import RegionStatus
from vreid.models.errors import VreidError
from vreid.runtime.gallery import Gallery

_LOG = logging.getLogger("vreid")
_READ = "reconciled "  # and the other region: key of the gallery's settings, how far sightings of both were looked at
_PAGE = 500  # sightings at a time
_LIKE = 5  # vehicles of the other region that are looked at, for each prototype


@dataclass(frozen=True)
class Reconciled:
    """What one pass over a pair of regions has done: proposals that are new, and that are gone since a vehicle is."""

    regions: tuple[str, str]
    new: int
    gone: int


def reconcile(
    settings: CentreSettings,
    regions: Collection[str] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> list[Reconciled]:
    """One pass over each pair of regions of which `regions` (None: all) have the first by name, until `over`.

    The vehicles that were seen since the last pass are compared with all of the other region. Who passes the threshold for so
    many and may have been both is proposed, once: that several processes do this at once doubles nothing. Raises Refused.
    """
    names = sorted(region.name for region in settings.regions)
    chosen = [pair for pair in combinations(names, 2) if regions is None or pair[0] in regions]
    if not chosen:
        return []
    with opened(settings, write=True) as galleries:
        return [_Pass(settings, galleries, pair).run(over) for pair in chosen if not over()]


class _Pass:
    def __init__(self, settings: CentreSettings, galleries: Galleries, regions: tuple[str, str]) -> None:
        self._settings, self._galleries, self._regions = settings, galleries, regions
        self._home, self._other = galleries[regions[0]], galleries[regions[1]]
        self._key = f"{_READ}{regions[1]}"
        self._new = 0

    def run(self, over: Callable[[], bool]) -> Reconciled:
        gone = self._forget_removed()
        with self._home.reading() as store:
            read: dict[str, int] = json.loads(store.setting(self._key) or "{}")
        for region in self._regions:
            with self._galleries[region].reading() as store:
                if read.get(region, 0) > store.last_sighting_id():  # it was made anew, or put back from a backup
                    read[region] = 0
            while not over():
                with self._galleries[region].reading() as store:
                    page = store.sightings_after(read.get(region, 0), _PAGE)
                if not page:
                    break
                read[region] = page[-1].id
                self._look(region, sorted({one.vehicle for one in page}), read)
        return Reconciled(self._regions, self._new, gone)

    def _forget_removed(self) -> int:
        """Proposals whose vehicle in the other region is gone; those of one that is gone here went with it."""
        with self._home.reading() as store:
            kept = [one for one in proposals_of(store).pairs() if one.region == self._regions[1]]
        with self._other.reading() as store:
            there = store.names({one.other for one in kept})
        gone = [one.id for one in kept if one.other not in there]
        if gone:
            with self._home.transaction() as store:
                proposals_of(store).drop(gone)
        return len(gone)

    def _look(self, region: str, vehicles: Collection[int], read: Mapping[str, int]) -> None:
        """Propose, or withdraw, what is like these vehicles of a region, and write down how far it was read."""
        home, far = self._regions
        threshold = least(self._settings, self._galleries[far if region == home else home].size()[0])
        like: dict[tuple[int, int], tuple[float, bool]] = {}  # of the vehicles here and there
        for vehicle in vehicles:
            for place, score in self._like(region, vehicle, threshold).items():
                pair = (vehicle, place.vehicle) if region == home else (place.vehicle, vehicle)
                like[pair] = score, self._may_be_one(*pair)
        with self._home.transaction() as store:
            proposals = proposals_of(store)
            for (here, there), (score, may_be) in like.items():
                if may_be:
                    self._new += proposals.propose(here, far, there, score)
                else:
                    proposals.withdraw(here, far, there)
            store.set_setting(self._key, json.dumps(read))

    def _like(self, region: str, vehicle: int, threshold: float) -> dict[Place, float]:
        """The vehicles of the other region that pass the threshold, with their best cosines."""
        other = next(name for name in self._regions if name != region)
        gallery, features = self._galleries[other], features_of(self._galleries[region], vehicle)
        if not len(features):
            return {}
        found: dict[Place, float] = {}
        for best in gallery.search(features, _LIKE):
            for one in best:
                if one.score >= threshold:
                    place = Place(other, one.vehicle)
                    found[place] = max(one.score, found.get(place, -1.0))
        return found

    def _may_be_one(self, here: int, there: int) -> bool:
        """Whether no sighting of one is at the moment of one of the other, by more than clocks are apart, or sooner after it than
        the way between the regions takes."""
        (first, last), (begin, end) = (spans(self._home, here), spans(self._other, there))
        soonest = self._settings.between_regions_s - APART_S
        return not any(
            (np.maximum(begin - until, since - end) <= soonest).any() for since, until in zip(first, last, strict=True)
        )


def spans(gallery: Gallery, vehicle: int) -> tuple[np.ndarray, np.ndarray]:
    """When each sighting of a vehicle began and ended, in seconds since 1970."""
    seen = gallery.sightings(vehicle)
    ends = np.array([one.at for one in seen], np.float64)
    return ends - np.array([one.last_time - one.first_time for one in seen], np.float64), ends


class Reconciling:
    """Passes every `reconcile_s`, in a thread, over the pairs whose first region this process resolves."""

    def __init__(self, settings: CentreSettings, look: Callable[[], Mapping[str, RegionStatus]]) -> None:
        self._settings, self._look = settings, look
        self._over = threading.Event()
        self.failure: BaseException | None = None  # what ended the thread, which should not be
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin, where there is anything to do: two regions, and a time between passes."""
        if self._settings.reconcile_s and len(self._settings.regions) > 1:
            self._thread.start()

    def close(self, seconds: float = 15.0) -> None:
        """End, between two transactions."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._over.wait(self._settings.reconcile_s):
                self._pass()
        except BaseException as failure:  # noqa: BLE001  raised by who looks after the regions
            self.failure = failure

    def _pass(self) -> None:
        held = [name for name, status in self._look().items() if status.epoch is not None]
        try:
            for done in reconcile(self._settings, held, self._over.is_set):
                if done.new:
                    _LOG.info("centre: %d new proposals between %s and %s", done.new, *done.regions)
        except VreidError as error:
            _LOG.warning("centre: regions could not be compared: %s; it is tried again", error)
