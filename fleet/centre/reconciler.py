"""Vehicles of one region that look like vehicles of another become proposals, which people answer; nothing is merged."""

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vreid.fleet.centre.across import Galleries, Place, features_of, gallery_of, least, proposals_of
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
    """What one pass over a pair of regions has done: proposals that are new, and that are gone since a vehicle is; or why the two
    could not be compared, or not to the end."""

    regions: tuple[str, str]
    new: int = 0
    gone: int = 0
    fault: str | None = None


def reconcile(
    settings: CentreSettings,
    regions: Collection[str] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> list[Reconciled]:
    """One pass over each pair of regions of which `regions` (None: all) have the first by name, until `over`.

    The vehicles that were seen since the last pass are compared with all of the other region. Who passes the threshold for so
    many and may have been both is proposed, once: that several processes do this at once doubles nothing. A region that is
    away keeps no other ones from being compared.
    """
    names = sorted(region.name for region in settings.regions)
    chosen = [pair for pair in combinations(names, 2) if regions is None or pair[0] in regions]
    galleries, away = dict[str, Gallery](), dict[str, str]()
    with ExitStack() as stack:
        for region in settings.regions:
            try:
                if any(region.name in pair for pair in chosen):
                    galleries[region.name] = stack.enter_context(gallery_of(settings, region, write=True))
            except VreidError as error:
                away[region.name] = f"region {region.name}: {error}"
        return [_compared(settings, galleries, away, pair, over) for pair in chosen if not over()]


def _compared(
    settings: CentreSettings,
    galleries: Galleries,
    away: Mapping[str, str],
    pair: tuple[str, str],
    over: Callable[[], bool],
) -> Reconciled:
    for name in pair:
        if name in away:
            return Reconciled(pair, fault=away[name])
    try:
        return _Pass(settings, galleries, pair).run(over)
    except VreidError as error:
        return Reconciled(pair, fault=str(error))


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
            kept = proposals_of(store).pairs(region=self._regions[1])
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
    """Passes every `reconcile_s`, in a thread, over the pairs whose first region this process resolves. A pair that cannot be
    compared is logged once, and tried again at the next pass."""

    def __init__(self, settings: CentreSettings, look: Callable[[], Mapping[str, RegionStatus]]) -> None:
        self._settings, self._look = settings, look
        self._over = threading.Event()
        self._faults: dict[tuple[str, str], str] = {}
        self._failed = Counter[tuple[str, str]]()
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

    def failed(self, region: str) -> dict[str, int]:
        """How often this region, the first of a pair by name, could not be compared with another one, by that one's name."""
        return {other: count for (first, other), count in [*self._failed.items()] if first == region}

    def _run(self) -> None:
        try:
            while not self._over.wait(self._settings.reconcile_s):
                self._pass()
        except BaseException as failure:  # noqa: BLE001  raised by who looks after the regions
            self.failure = failure

    def _pass(self) -> None:
        held = [name for name, status in self._look().items() if status.epoch is not None]
        for done in reconcile(self._settings, held, self._over.is_set):
            before = self._faults.pop(done.regions, None)
            if done.fault is not None:
                self._failed[done.regions] += 1
                self._faults[done.regions] = done.fault
                if done.fault != before:
                    said = "centre: regions %s and %s could not be compared: %s; it is tried again"
                    _LOG.warning(said, *done.regions, done.fault)
            elif before is not None:
                _LOG.info("centre: regions %s and %s are compared again", *done.regions)
            if done.new:
                _LOG.info("centre: %d new proposals between %s and %s", done.new, *done.regions)
