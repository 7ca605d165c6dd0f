"""What a centre costs, measured: the constants of bench/fleet_model.py, on real servers.

    python bench/fleet_rates.py --postgres 'postgresql://...' --nats nats://... --crops FOLDER

Makes galleries rates_N in the database and a stream RATES on the server, and removes neither. The features are made (a vehicle's
own, with noise: cosine 0.93 to each other, --seed), since what is measured is time and bytes and not identity; the crops are real,
for the bytes of a picture. Messages go through the resolver of `vreid centre run`, one transaction each, in this process. Times are
those of the processors, which other work on the machine hardly changes, and that of a commit; the server must run here. Prints
and writes bench/results/fleet_rates.json.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import time
from base64 import b64encode
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psycopg
from nats.js.api import StreamConfig
from rows import RESULTS

from vreid.deploy.device import machine
from vreid.fleet.centre.log import Logged, Position
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.resolver import Resolver
from vreid.fleet.centre.settings import RegionSettings, Space
from vreid.fleet.centre.status import Counts
from vreid.fleet.link import SENT, joined
from vreid.fleet.messages import SightingMessage, as_bytes, number_of, picture_name
from vreid.fleet.subjects import subject_of
from vreid.models.manifest import Match
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery_place import DatabaseAddress, place_of
from vreid.runtime.topology import Topology

ROWS = RESULTS / "fleet_rates.json"
DIM, CAMERAS = 128, 20
QUANTILES = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]
ABOUT = About("f" * 16, DIM, "made")


class Messages:
    """Sightings of made vehicles, numbered as a box numbers them."""

    def __init__(self, seed: int) -> None:
        self._rng, self._seq, self._seed = np.random.default_rng(seed), 0, seed
        self._base = int(np.random.default_rng([seed, 1]).integers(1 << 52))  # as an outbox draws it

    def feature(self, vehicle: int, noise: float = 0.27) -> Any:
        """(DIM,) of unit length."""
        plain = np.random.default_rng([self._seed, vehicle]).normal(size=DIM)
        other = self._rng.normal(size=DIM)
        both = plain / np.linalg.norm(plain) + noise * other / np.linalg.norm(other)
        return (both / np.linalg.norm(both)).astype(np.float32)

    def next(self, vehicle: int) -> Logged:
        """The next message of the log: this vehicle passed one of the cameras just now."""
        self._seq += 1
        now = time.time()
        feature = b64encode(self.feature(vehicle).astype("<f2").tobytes()).decode()
        message = SightingMessage.model_validate(
            {
                "schema": 1, "what": "sighting", "box": f"crossing-{self._seq % CAMERAS}", "seq": int(now * 1e6),
                "fingerprint": ABOUT.fingerprint, "vehicle": self._base + vehicle + 1, "sighting": self._base + self._seq,
                "camera": "north-lane-2",
                "t0": now - 4.25, "t1": now, "kind": "car", "prototypes": [feature], "quality": 0.8125, "plate": None,
                "thumbnail": picture_name(str(self._seq).encode()),
            }
        )  # fmt: skip
        return Logged(message.box, message, Position("made", self._seq, now), now, 0)


def size_of(address: DatabaseAddress) -> int:
    """Bytes of all tables and indexes of a gallery, once what is dead in them was freed."""
    with psycopg.connect(address.uri, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT format('%%I.%%I', n.nspname, c.relname), c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = %s AND relkind = 'r'",
            (address.gallery,),
        ).fetchall()
        for name, _ in tables:
            connection.execute(f"VACUUM {name}".encode())
        sizes = [connection.execute("SELECT pg_total_relation_size(%s)", (oid,)).fetchone() for _, oid in tables]
    return sum(size[0] for size in sizes if size is not None)


def enrolled(gallery: Gallery, messages: Messages, first: int, count: int) -> None:
    """Vehicles with a prototype each, as many sightings would have left them."""
    for begin in range(first, first + count, 1000):
        with gallery.transaction():
            for vehicle in range(begin, min(begin + 1000, first + count)):
                gallery.add_prototype(gallery.add_vehicle(), "crossing-1/north-lane-2", messages.feature(vehicle))


def server_cpu_s(uri: str) -> float:
    """CPU seconds that all processes of the database server have used, which must run on this machine."""
    with psycopg.connect(uri, autocommit=True) as connection:
        found = connection.execute("SHOW data_directory").fetchone()
    assert found is not None
    first = (Path(found[0]) / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    ticks = sum(map(int, _times(first))) + sum(int(part) for child in children for part in _times(child)[:2])
    return ticks / os.sysconf("SC_CLK_TCK")


def _times(process: str) -> list[str]:
    """Ticks in its own code and the system's, and those of its children that have ended."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[11:15]


def resolved(resolver: Resolver, counts: Counts, messages: Messages, vehicles: list[int], uri: str) -> dict[str, Any]:
    """Milliseconds of a message on this process's processor (and QUANTILES of them), on the server's and by the clock; what became
    of them."""
    before, spent = (counts.new, counts.known), list[float]()
    logged = [messages.next(vehicle) for vehicle in vehicles]
    began, server = time.perf_counter(), server_cpu_s(uri)
    for one in logged:
        own = time.process_time()
        resolver.take(one)
        spent.append(1000 * (time.process_time() - own))
    server, clock = server_cpu_s(uri) - server, time.perf_counter() - began
    return {
        "own_cpu_ms": round(statistics.mean(spent), 3),
        "own_quantiles_ms": [round(float(each), 2) for each in np.quantile(spent, QUANTILES)],
        "server_cpu_ms": round(1000 * server / len(vehicles), 3), "clock_ms": round(1000 * clock / len(vehicles), 3),
        "new": counts.new - before[0], "known": counts.known - before[1],
    }  # fmt: skip


def commit_ms(uri: str, count: int) -> float:
    """The median of the smallest transaction that is waited for until it is on the disk."""
    spent = []
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rates_commits (number INT)")
        for number in range(count):
            began = time.perf_counter()
            connection.execute("INSERT INTO rates_commits VALUES (%s)", (number,))
            spent.append(1000 * (time.perf_counter() - began))
        connection.execute("DROP TABLE rates_commits")
    return round(statistics.median(spent), 3)


def of_gallery(uri: str, index: str, sizes: list[int], count: int, seed: int) -> list[dict[str, Any]]:
    """A row for each size of the gallery that it grows to: times of known and of new vehicles, and bytes of each."""
    place = place_of(f"{uri}{'&' if '?' in uri else '?'}gallery=rates_{index}")
    assert isinstance(place, DatabaseAddress)
    rows, messages, chance = [], Messages(seed), random.Random(seed)
    space = Space(ABOUT, Match(threshold=0.7, false_match_rate=0.01, gallery=1000))
    about = {"fingerprint": ABOUT.fingerprint, "dim": DIM, "model": ABOUT.model}
    with open_gallery(place, **about, write=True, index=index) as gallery:  # type: ignore[arg-type]
        with gallery.transaction() as store:
            epoch = inbox_of(store).take_lease("bench", 86400.0)
        assert epoch is not None
        region = RegionSettings(
            name="rates",
            gallery=place,
            topology=Topology(),
            false_match_rate=0.01,
            new_below=None,
            retention=None,
            index=index,
        )
        there, fresh = 0, 10**9
        for size in sizes:
            enrolled(gallery, messages, there, size - there)
            there = size
            counts = Counts()
            resolver = Resolver(gallery, region, space, epoch, counts)
            resolved(
                resolver, counts, messages, [chance.randrange(there) for _ in range(20)], place.uri
            )  # what is made once
            row: dict[str, Any] = {"index": index, "vehicles": size}
            for what in ("known", "new"):
                before = size_of(place)
                vehicles = [chance.randrange(there) if what == "known" else fresh + number for number in range(count)]
                fresh += count
                found = resolved(resolver, counts, messages, vehicles, place.uri)
                row |= {f"{what}_{key}": value for key, value in found.items()}
                row[f"{what}_bytes"] = round((size_of(place) - before) / count)
            row["rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def of_pictures(uri: str, crops: Path, count: int, seed: int) -> dict[str, float]:
    """Bytes of a picture as a box sends it, and of one in the database."""
    files = sorted(crops.rglob("*.jpg"))
    jpegs = [thumbnail_of(cv2.imread(str(path))) or b"" for path in random.Random(seed).sample(files, count)]
    place = place_of(f"{uri}{'&' if '?' in uri else '?'}gallery=rates_flat")
    assert isinstance(place, DatabaseAddress)
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rates_flat.rates_pictures (picture BYTEA)")
        before = size_of(place)
        for jpeg in jpegs:
            connection.execute("INSERT INTO rates_flat.rates_pictures VALUES (%s)", (jpeg,))
        grown = size_of(place) - before
        connection.execute("DROP TABLE rates_flat.rates_pictures")
    return {"picture_bytes": round(statistics.mean(map(len, jpegs))), "picture_stored_bytes": round(grown / count)}


async def of_stream(server: str, count: int, seed: int) -> dict[str, float]:
    """Messages a second that one client has stored, 256 on their way, and the bytes of one in the stream."""
    messages = Messages(seed)
    made = [message for logged in (messages.next(1) for _ in range(count))
            if isinstance(message := logged.message, SightingMessage)]  # fmt: skip
    bodies = [*map(as_bytes, made)]
    async with joined(server, "rates") as client:
        stream = client.jetstream(timeout=30)
        await stream.add_stream(StreamConfig(name="RATES", subjects=["rates.*.*.*"], duplicate_window=120.0))
        before = (await stream.stream_info("RATES")).state
        began = time.perf_counter()
        for start in range(0, count, 256):
            waiting = [
                await stream.publish_async(
                    subject_of("north", each.box, each.camera).replace("v1", "rates"),
                    body,
                    headers={"Nats-Msg-Id": number_of(each), SENT: f"{time.time():.3f}"},
                )
                for each, body in zip(made[start : start + 256], bodies[start : start + 256], strict=True)
            ]
            await asyncio.gather(*waiting)
        seconds = time.perf_counter() - began
        after = (await stream.stream_info("RATES")).state
    return {
        "message_bytes": round(statistics.mean(map(len, bodies))),
        "stream_bytes": round((after.bytes - before.bytes) / (after.messages - before.messages)),
        "stream_per_s": round(count / seconds),
    }


def main() -> int:
    asks = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asks.add_argument("--postgres", required=True)
    asks.add_argument("--nats", required=True)
    asks.add_argument("--crops", type=Path, required=True)
    asks.add_argument("--sizes", type=int, nargs="+", default=[1000])
    asks.add_argument("--count", type=int, default=300)
    asks.add_argument("--seed", type=int, default=0)
    args = asks.parse_args()
    found: dict[str, Any] = {
        "date": date.today().isoformat(), "machine": machine(),
        "seed": args.seed, "count": args.count, "dim": DIM,
    }  # fmt: skip
    found |= asyncio.run(of_stream(args.nats, 20_000, args.seed))
    found["galleries"] = [
        row
        for index in ("flat", "pgvector")
        for row in of_gallery(args.postgres, index, args.sizes, args.count, args.seed)
    ]
    found["commit_ms"] = commit_ms(args.postgres, args.count)
    found |= of_pictures(args.postgres, args.crops, args.count, args.seed)
    ROWS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
