"""A model of a fleet of 10,000 cameras: from stated rates and measured constants to messages, disk, memory, cores, and the walls.

    python bench/fleet_model.py            # the tables of docs/fleet_model.md, which a test compares

What is ASSUMED is stated there and here, by flags: --cameras 10000 --per-hour 120 ... What is measured is read from
bench/results/fleet_rates.json (bench/fleet_rates.py) and gallery_scale.json (bench/gallery_scale.py). The delay of a resolver at
the peak is simulated: Poisson arrivals by the hour of the day, one server, the measured times of a message (--seed).
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import RESULTS

HOURS = (10, 7, 6, 6, 9, 22, 46, 72, 78, 62, 55, 56, 58, 58, 60, 66, 76, 80, 66, 46, 34, 27, 20, 14)
"""Passages by the hour of a working day, in shares of their sum: two peaks, the hour from 17 the busiest."""
DAY_S = 86400
INDEXES = ("flat", "hnsw")
ONE_CORE = 0.7  # of a core, a disk or a resolver that is planned for


@dataclass(frozen=True)
class Assumed:
    """What a city decides or has; change it by flags of the same names."""

    cameras: int = 10_000
    per_hour: float = 120.0  # sightings of a camera, mean over the day
    region: int = 200  # cameras in a region
    new: float = 0.1  # share of sightings whose vehicle is not known in its region
    vehicle_days: float = 30.0  # after which a vehicle that nobody named is removed (vreid gallery clean)
    prototypes: float = 2.0  # of a vehicle
    retention_days: float = 30.0  # of sightings in the database
    log_days: float = 7.0  # of messages and pictures on the NATS servers
    replicas: int = 3  # of the log
    index: str = "flat"  # or hnsw: how a resolver searches, where the tables do not name both


@dataclass(frozen=True)
class Measured:
    """Of one message, on the machine of the results."""

    message_bytes: float
    stream_bytes: float
    stream_per_s: float
    picture_bytes: float
    picture_stored_bytes: float
    known_bytes: float
    new_bytes: float
    own_cpu_ms: float
    server_cpu_ms: float
    commit_ms: float
    quantiles: tuple[float, ...]  # of own_cpu_ms, at QUANTILES
    flat_ms_per_gb: float
    hnsw_ms: float  # a search, and an addition
    hnsw_size: float  # of its memory, over that of the features


QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
DIM_BYTES = 128 * 4


def measured() -> Measured:
    """From the results; times are those of the flat index at 1,000 vehicles, known and new ones weighed as assumed by default."""
    rates = json.loads((RESULTS / "fleet_rates.json").read_text(encoding="utf-8"))
    row = next(one for one in rates["galleries"] if (one["index"], one["vehicles"]) == ("flat", 1000))
    scale = json.loads((RESULTS / "gallery_scale.json").read_text(encoding="utf-8"))["rows"]
    flat, hnsw = (
        next(one for one in scale if (one["size"], one["what"]) == (1_000_000, what)) for what in ("flat", "hnsw")
    )
    gb = 1_000_000 * 512 * 4 / 1e9
    new = Assumed.new

    def mixed(what: str) -> float:
        return float((1 - new) * row[f"known_{what}"] + new * row[f"new_{what}"])

    quantiles = (1 - new) * np.array(row["known_own_quantiles_ms"]) + new * np.array(row["new_own_quantiles_ms"])
    plain = ("message_bytes", "stream_bytes", "stream_per_s", "picture_bytes", "picture_stored_bytes")
    return Measured(
        **{name: float(rates[name]) for name in plain}, known_bytes=row["known_bytes"], new_bytes=row["new_bytes"],
        own_cpu_ms=mixed("own_cpu_ms"), server_cpu_ms=mixed("server_cpu_ms"), commit_ms=rates["commit_ms"],
        quantiles=tuple(float(each) for each in quantiles), flat_ms_per_gb=flat["1 p50 ms"] / gb,
        hnsw_ms=hnsw["1 p50 ms"] + 1000 / hnsw["caught up per s"], hnsw_size=hnsw["index MB"] / 1000 / gb,
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What follows. A region's numbers are of one of `regions` equal ones; peaks are of the busiest hour."""

    assumed: Assumed
    measured: Measured

    @property
    def regions(self) -> float:
        """How many there are."""
        return self.assumed.cameras / self.assumed.region

    @property
    def per_day(self) -> float:
        """Sightings of all cameras."""
        return self.assumed.cameras * self.assumed.per_hour * 24

    @property
    def peak(self) -> float:
        """The busiest hour's rate over the mean."""
        return max(HOURS) * 24 / sum(HOURS)

    @property
    def peak_per_s(self) -> float:
        """Sightings a second of all cameras in the busiest hour."""
        return self.per_day / DAY_S * self.peak

    @property
    def stream_per_s(self) -> float:
        """Messages a second that the log takes at the peak: each sighting, and what the centre says of it."""
        return 2 * self.peak_per_s

    @property
    def row_bytes(self) -> float:
        """Of a sighting in the database, without its picture."""
        return (1 - self.assumed.new) * self.measured.known_bytes + self.assumed.new * self.measured.new_bytes

    @property
    def vehicles(self) -> float:
        """That one region keeps."""
        return self.per_day / self.regions * self.assumed.new * self.assumed.vehicle_days

    @property
    def index_bytes(self) -> float:
        """In memory, of one region's resolver."""
        features = self.vehicles * self.assumed.prototypes * DIM_BYTES
        return features * (self.measured.hnsw_size if self.assumed.index == "hnsw" else 1.0)

    @property
    def search_ms(self) -> float:
        """More that a message takes than with the 1,000 vehicles that were measured."""
        if self.assumed.index == "hnsw":
            return self.measured.hnsw_ms
        return max(0.0, self.index_bytes - 1000 * DIM_BYTES) / 1e9 * self.measured.flat_ms_per_gb

    @property
    def message_ms(self) -> float:
        """Of a message in its resolver: both processors, one after the other, and the disk."""
        return self.measured.own_cpu_ms + self.measured.server_cpu_ms + self.measured.commit_ms + self.search_ms

    @property
    def resolver_cores(self) -> float:
        """Of all regions at the peak."""
        return self.peak_per_s * (self.measured.own_cpu_ms + self.search_ms) / 1000 / ONE_CORE

    @property
    def database_cores(self) -> float:
        """Of all regions' messages at the peak."""
        return self.peak_per_s * self.measured.server_cpu_ms / 1000 / ONE_CORE


def delays(model: Model, cameras: int, seed: int = 0, days: int = 3) -> NDArray[np.float64]:
    """Seconds from a message's arrival to its end at one region's resolver, over some working days."""
    rng = np.random.default_rng(seed)
    mean = cameras * model.assumed.per_hour * 24
    arrivals = []
    for hour, share in enumerate(np.tile(np.array(HOURS) / sum(HOURS), days)):
        arrivals.append(3600 * (hour + np.sort(rng.random(rng.poisson(mean * share)))))
    at = np.concatenate(arrivals)
    rest = model.message_ms - model.measured.own_cpu_ms
    service = (np.interp(rng.random(len(at)), QUANTILES, model.measured.quantiles) + rest) / 1000
    done = np.cumsum(service)  # Lindley: a message ends when those before it have, and its own time has passed
    free = np.maximum.accumulate(at - (done - service))
    return np.asarray(done + free - at)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def amount(value: float, unit: str = "") -> str:
    """Three digits that count: 1,230 or 12.3 TB."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit == "B" and value >= size:
            return f"{value / size:.3g} {letter}B"
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def constants(found: Measured) -> str:
    """What was measured."""
    rates, scale = "`bench/fleet_rates.py`", "`bench/gallery_scale.py`"

    def both(first: float, second: float, unit: str = "B") -> str:
        return f"{amount(first, unit)}, {amount(second, unit)}"

    rows = [
        ("a sighting's message, and the same in the stream", both(found.message_bytes, found.stream_bytes), rates),
        ("messages that one publisher had stored, one replica", f"{amount(found.stream_per_s)} a second", rates),
        ("a picture, and the same in the database", both(found.picture_bytes, found.picture_stored_bytes), rates),
        ("rows and indexes of a sighting: vehicle known, new", both(found.known_bytes, found.new_bytes), rates),
        (
            "a message at 1,000 vehicles: resolver's processor, database's",
            both(found.own_cpu_ms, found.server_cpu_ms, "ms"),
            rates,
        ),
        ("a commit, on the disk", amount(found.commit_ms, "ms"), rates),
        ("exact search of one feature (flat)", f"{amount(found.flat_ms_per_gb, 'ms')} a GB of features", scale),
        ("HNSW with a million: a search and an addition", amount(found.hnsw_ms, "ms"), scale),
    ]
    return table(("measured", "", "by"), rows)


def sizes(model: Model) -> str:
    """The whole and one region."""
    assumed, found, share = model.assumed, model.measured, 1 / model.regions
    day_rows, day_pictures = model.per_day * model.row_bytes, model.per_day * found.picture_stored_bytes
    sent = found.message_bytes + found.picture_bytes
    both = [Model(replace(assumed, index=index), found) for index in INDEXES]
    in_log = model.per_day * (2 * found.stream_bytes + found.picture_bytes) * assumed.log_days * assumed.replicas
    values = [
        ("sightings a day", model.per_day, ""),
        ("sightings a second, mean", model.per_day / DAY_S, ""),
        ("sightings a second, busiest hour", model.peak_per_s, ""),
        ("messages a second in the log, busiest hour", model.stream_per_s, ""),
        ("from boxes a second, busiest hour, with pictures", model.peak_per_s * sent, "B"),
        (f"NATS: disk, {assumed.log_days:g} days, {assumed.replicas} replicas", in_log, "B"),
        ("database: rows and indexes a day", day_rows, "B"),
        ("database: pictures a day", day_pictures, "B"),
        (f"database: disk, {assumed.retention_days:g} days, rows", day_rows * assumed.retention_days, "B"),
        (f"database: disk, {assumed.retention_days:g} days, pictures", day_pictures * assumed.retention_days, "B"),
        ("vehicles that are kept", model.vehicles * model.regions, ""),
        *((f"resolvers: index in memory, {one.assumed.index}", one.index_bytes * one.regions, "B") for one in both),
        *((f"resolvers: cores at {ONE_CORE:.0%}, busiest hour, {one.assumed.index}", one.resolver_cores, "") for one in both),
        (f"NATS: cores at {ONE_CORE:.0%}, busiest hour", model.stream_per_s / found.stream_per_s / ONE_CORE, ""),
        (f"database: cores at {ONE_CORE:.0%}, busiest hour", model.database_cores, ""),
    ]  # fmt: skip
    rows = [(name, amount(value, unit), amount(value * share, unit)) for name, value, unit in values]
    return table(("", f"{assumed.cameras:,} cameras", f"one of {model.regions:g} regions of {assumed.region:,}"), rows)


def queue(model: Model, seed: int) -> str:
    """Regions of several sizes, each with a gallery as large as its cameras fill, by both indexes."""
    rows = []
    for cameras in (50, 100, 200, 300, 400, 500):
        row = [f"{cameras:,}"]
        for index in INDEXES:
            of = Model(replace(model.assumed, region=cameras, index=index), model.measured)
            busy = cameras * of.assumed.per_hour / 3600 * of.peak * of.message_ms / 1000
            p99 = span(float(np.quantile(delays(of, cameras, seed), 0.99))) if busy < of.peak else "grows"
            row += [] if index == "hnsw" else [amount(of.vehicles), amount(of.index_bytes, "B")]
            row += [amount(of.message_ms, "ms"), f"{busy:.0%}", p99]
        rows.append(row)
    heads = ("cameras of a region", "vehicles", "features", *(f"{index}: {what}" for index in INDEXES
             for what in ("a message", "busy", "delay p99")))  # fmt: skip
    return table(heads, rows)


def span(seconds: float) -> str:
    """53 ms, 1.2 s, 7.4 h."""
    for size, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            return amount(seconds / size, unit)
    return amount(1000 * seconds, "ms")


def page(assumed: Assumed, seed: int) -> str:
    """All tables, as docs/fleet_model.md has them."""
    model = Model(assumed, measured())
    return "\n\n".join((constants(model.measured), sizes(model), queue(model, seed)))


def main(words: Sequence[str] | None = None) -> int:
    asks = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for each in fields(Assumed):
        kind: Any = type(each.default)
        asks.add_argument(f"--{each.name.replace('_', '-')}", type=kind, default=each.default)
    asks.add_argument("--seed", type=int, default=0)
    args = vars(asks.parse_args(words))
    seed = args.pop("seed")
    sys.stdout.write(page(Assumed(**args), seed) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
