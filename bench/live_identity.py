"""Identity over three cameras with every detector, and what embedding fewer crops costs: one table.

    python bench/live_identity.py --videos ../shared/data/roadside-video --yolox ../shared/models/yolox_nano.onnx

`vreid run` and `vreid eval run` once for each detector and each of --embed smart and every; files, so that nothing depends on
the machine's speed. Rows in bench/results/live_identity.json.
"""

import argparse
import json
import tempfile
import threading
from datetime import date
from pathlib import Path

from rows import RESULTS

from vreid.runtime.evaluate.evaluation import evaluate_run
from vreid.runtime.run import run_session
from vreid.runtime.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--yolox", type=Path, required=True)
    parser.add_argument("--detector", action="append", default=[], help="another, as vreid run takes it")
    flags = parser.parse_args()
    videos = [str(video) for video in sorted(flags.videos.glob("cam*.mp4"))]
    detectors = {
        "replay": f"replay:{flags.videos}",
        "motion": "motion",
        "yolox": f"yolox:{flags.yolox}",
        "yolox, tiles=2": f"yolox:{flags.yolox}?tiles=2",
    }
    detectors |= {text: text for text in flags.detector}
    rows = []
    for name, detector in detectors.items():
        for embed in ("smart", "every"):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                session = Session(sources=videos, detector=detector, out=out, enrol_unknown=True, embed=embed)
                summary = run_session(session, threading.Event())
                found = evaluate_run(out, flags.videos)
            boxes = summary["embedded"] + summary["passed_over"]
            rows.append(
                {
                    "detector": name,
                    "embed": embed,
                    "embedded": summary["embedded"],
                    "share": round(summary["embedded"] / boxes, 3),
                    **{key: found["boxes"]["all"][key] for key in ("idf1", "hota", "mota", "switches")},
                    "date": date.today().isoformat(),
                }
            )
            print(" | ".join(str(value) for value in rows[-1].values()), flush=True)
    (RESULTS / "live_identity.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
