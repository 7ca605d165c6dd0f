"""From a sighting at a box to its identity there, through NATS, a centre and PostgreSQL: sightings a second, and the delay.

    python bench/fleet_chain.py --nats nats://127.0.0.1:4222 --postgres 'postgresql://user@host/database'

Boxes are processes that write sightings of made vehicles (a vehicle's own feature with noise, cosine 0.96 to each other; no
pictures) to their own gallery with an outbox; `vreid centre run` is a process, too. First each box writes as fast as it can, and
the rate is that of the identities that come back; then boxes write at --rate sightings a second in all, and the delay is that from
the commit of a sighting to the commit of its identity, as the box sees it (looked at every 5 ms). Makes the gallery chain in the
database and the stream on the server, which are to be new. Prints and writes bench/results/fleet_chain.json.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS

import vreid
from vreid.deploy.device import machine
from vreid.fleet.sender import Sender
from vreid.runtime.gallery import open_gallery
from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.session import FleetSettings

ROWS = RESULTS / "fleet_chain.json"
REGION = "chain"
_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)
_LOOK_S = 0.005
_PATIENCE_S = 300.0


def feature(vehicle: int, random: np.random.Generator) -> Floats:
    """(128,) of unit length."""
    plain, noise = np.random.default_rng(vehicle).normal(size=128), random.normal(size=128)
    both = plain / np.linalg.norm(plain) + 0.2 * noise / np.linalg.norm(noise)
    return np.asarray(both / np.linalg.norm(both), np.float32)


def box(number: int, path: Path, server: str, vehicles: int, count: int, pause: float, results: Any, go: Any) -> None:
    """Write `count` sightings, `pause` seconds apart (0: as fast as it goes), and wait for their identities; puts
    (when each was committed, when its identity was) into `results`."""
    manifest, random = vreid.load("vreid-s").manifest, np.random.default_rng(number)
    about = {"fingerprint": manifest.fingerprint, "dim": manifest.output.dim, "model": manifest.name}
    with open_gallery(path, write=True, **about) as gallery:
        with gallery.transaction() as store:
            store.outbox(make=True)
        sender = Sender(FleetSettings(box=f"box-{number}", region=REGION, server=server), gallery)
        sender.start()
        own = {}
        go.wait()
        written, heard, due = dict[int, float](), dict[int, float](), time.time() + pause * random.random()
        end = time.time() + count * pause + _PATIENCE_S
        while len(heard) < count and time.time() < end:
            if len(written) < count and time.time() >= due:
                seen = int(random.integers(vehicles))
                if seen not in own:
                    own[seen] = gallery.add_vehicle()
                now = time.time()
                track = FinishedTrack(
                    "gate", len(written), 0, 1, now - 2, now, 2, feature(seen, random), 3, 0.8, _NO_PICTURE, seen=now
                )
                id_ = gallery.add_sighting(own[seen], track, 0.9)
                written[id_], due = time.time(), due + pause
                if not pause:
                    continue
            with gallery.reading() as store:
                known = store.identities()
                waiting = [id_ for id_ in written if id_ not in heard]
                found = {} if known is None else known.of_sightings(waiting)
            now = time.time()
            heard.update(dict.fromkeys(found, now))
            time.sleep(_LOOK_S)
        sender.close()
    results.put((number, written, heard))


def passed(
    folder: Path, server: str, flags: argparse.Namespace, first: int, pause: float, count: int
) -> dict[str, Any]:
    """Boxes that write so; the rate at which their identities came back, and the delay."""
    context = multiprocessing.get_context("spawn")
    results, go = context.Queue(), context.Event()
    boxes = [
        context.Process(
            target=box,
            args=(first + each, folder / f"{first + each}.db", server, flags.vehicles, count, pause, results, go),
        )
        for each in range(flags.boxes)
    ]
    for one in boxes:
        one.start()
    time.sleep(5)  # all are open
    go.set()
    found = [results.get() for _ in boxes]
    for one in boxes:
        one.join()
    written = {(number, id_): at for number, own, _ in found for id_, at in own.items()}
    heard = {(number, id_): at for number, _, own in found for id_, at in own.items()}
    delays = np.array([1000 * (at - written[key]) for key, at in heard.items()])
    seconds = max(heard.values()) - min(written.values())
    return {
        "boxes": flags.boxes, "written": len(written), "answered": len(heard), "seconds": round(seconds, 2),
        "per_second": round(len(heard) / seconds, 1),
        "delay_ms": {f"p{q}": round(float(np.percentile(delays, q)), 1) for q in (50, 90, 99)},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nats", required=True)
    parser.add_argument("--postgres", required=True, help="the database, without ?gallery=")
    parser.add_argument("--boxes", type=int, default=8)
    parser.add_argument("--vehicles", type=int, default=300)
    parser.add_argument("--burst", type=int, default=200, help="sightings of each box, as fast as it can")
    parser.add_argument("--rate", type=float, default=20.0, help="sightings a second of all boxes")
    parser.add_argument("--steady", type=int, default=100, help="sightings of each box at that rate")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        joint = "&" if "?" in flags.postgres else "?"
        file = folder / "centre.toml"
        file.write_text(
            f'server = "{flags.nats}"\nmodel = "vreid-s"\n[[region]]\nname = "{REGION}"\n'
            f'gallery = "{flags.postgres}{joint}gallery=chain"\n'
        )
        subprocess.run([sys.executable, "-m", "vreid.cli.main", "fleet", "setup", flags.nats], check=True)
        centre = subprocess.Popen([sys.executable, "-m", "vreid.cli.main", "centre", "run", str(file)])
        try:
            burst = passed(folder, flags.nats, flags, 0, 0.0, flags.burst)
            steady = passed(folder, flags.nats, flags, flags.boxes, flags.boxes / flags.rate, flags.steady)
        finally:
            centre.terminate()
            centre.wait()
    document = {
        "date": date.today().isoformat(), "machine": machine(), "vehicles": flags.vehicles, "rate": flags.rate,
        "burst": burst, "steady": steady,
    }  # fmt: skip
    ROWS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
