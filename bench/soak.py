"""An hour of two live cameras: does anything grow?

    python bench/soak.py --videos ../shared/data/roadside-video --work runs/soak [--minutes 60] [--plot docs/images/soak.png]

`vreid run` watches two cameras of a real RTSP server on loopback, with a gallery that enrols and
metrics, which are read every ten seconds. Says the slope of resident memory after the first sixth, and how far threads and open
files moved; draws them. Rows in bench/results/soak.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import numpy as np
from rows import RESULTS
from rtsp_torture import Watch, raw, serve

from vreid.cli.main import main as vreid


def plot(rows: np.ndarray, file: Path) -> None:
    """Memory, and frames a second of both cameras, over the minutes."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (memory, rate) = pyplot.subplots(2, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
    minutes = rows[:, 0] / 60
    memory.plot(minutes, rows[:, 3])
    memory.set_ylim(0, rows[:, 3].max() * 1.15)
    memory.set_ylabel("resident memory, MB")
    for column, name in ((1, "gate"), (2, "yard")):
        rate.plot(minutes[1:], np.diff(rows[:, column]) / np.diff(rows[:, 0]), label=name, lw=0.8)
    rate.set_ylim(0, None)
    rate.set_ylabel("frames a second")
    rate.set_xlabel("minutes")
    rate.legend(loc="lower right")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--port", type=int, default=8951)
    flags = parser.parse_args()
    flags.work.mkdir(parents=True, exist_ok=True)
    videos = [raw(flags.videos / f"cam{number}.mp4", flags.work, "640x360") for number in (1, 2)]
    known = flags.work / "known.db"
    with ExitStack() as opened:
        for place, name in enumerate(("gate", "yard")):
            opened.callback(serve(flags.port + place, name, videos[place]).kill)
        command = [
            *(sys.executable, "-m", "vreid.cli.main", "run", "--detector", "motion", "--enrol-unknown"),
            *(f"gate=rtsp://127.0.0.1:{flags.port}/gate", f"yard=rtsp://127.0.0.1:{flags.port + 1}/yard"),
            *("--metrics", str(flags.port + 2), "--out", str(flags.work / "out"), "--gallery", str(known)),
        ]
        run = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        opened.callback(run.kill)
        watch = Watch(flags.port + 2, ("gate", "yard"), run)
        while time.monotonic() < watch.began + 60 * flags.minutes:
            try:
                row = watch.read()
                if len(watch.rows) % 30 == 1:
                    print(f"{row[0] / 60:.1f} min, {row[1]:.0f} + {row[2]:.0f} frames, {row[3]:.0f} MB", flush=True)
            except OSError:
                if watch.rows:
                    raise
            time.sleep(10 if watch.rows else 0.5)
        run.send_signal(signal.SIGTERM)
        code = run.wait(60)
    rows = np.array(watch.rows)
    later = rows[rows[:, 0] > rows[-1, 0] / 6]
    slope = np.polyfit(later[:, 0] / 3600, later[:, 3], 1)[0]
    report = json.loads((flags.work / "out" / "report.json").read_text())
    found = {
        "code": code,
        "minutes": round(rows[-1, 0] / 60, 1),
        "rss_mb": [round(float(later[0, 3]), 1), round(float(later[-1, 3]), 1)],
        "rss_slope_mb_an_hour": round(float(slope), 2),
        "threads": sorted({int(value) for value in later[:, 4]}),
        "files": sorted({int(value) for value in later[:, 5]}),
        "frames": {name: view["frames"] for name, view in report["cameras"].items()},
        "dropped": {name: view["dropped"] for name, view in report["cameras"].items()},
        "sightings": report["sightings"],
        "vehicles": report["vehicles"],
        "date": date.today().isoformat(),
    }
    print(json.dumps(found, indent=2))
    (RESULTS / "soak.json").write_text(json.dumps(found, indent=2) + "\n")
    if flags.plot:
        plot(rows, flags.plot)
    raise SystemExit(code or vreid(["gallery", "check", "--gallery", str(known)]))


if __name__ == "__main__":
    main()
