"""A walk through the Python interface, cell by cell; editors that know `# %%` run it like a notebook.

It makes its own pictures and videos in a temporary folder that goes when Python ends. From a shell: python examples/walkthrough.py
"""

# %% Make a few pictures and a short video of a synthetic road (in your own program: your files)
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import vreid

temporary = tempfile.TemporaryDirectory(prefix="vreid-")
folder = Path(temporary.name)
pictures, videos = folder / "pictures", folder / "videos"
synth = [sys.executable, "-m", "vreid.cli.main", "synth"]
subprocess.run(
    [*synth, "crops", "--out", str(pictures), "--vehicles", "4", "--cameras", "2", "--per-camera", "2"], check=True
)
subprocess.run(
    [*synth, "city", "--out", str(videos), "--seconds", "6", "--vehicles", "4", "--cameras", "2"], check=True
)

# %% Load a model; a feature is a row of unit length
model = vreid.load("vreid-s")
print(model, "threshold", model.threshold)

# %% Embed a folder of pictures
with (pictures / "train.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
features = model.embed([pictures / row["path"] for row in rows])
print(features.shape)

# %% How alike are the first vehicle's pictures to each other, and to the rest?
same = [row["vehicle"] == rows[0]["vehicle"] for row in rows]
cosines = features @ features[0]
print("same vehicle:", cosines[1:][same[1:]].round(3))
print("others, at most:", cosines[[not one for one in same]].max().round(3))

# %% Keep them in a gallery, and search with a picture from the other camera
with vreid.Gallery(folder / "known.db", model) as gallery:
    for vehicle in sorted({row["vehicle"] for row in rows}):
        crops = [pictures / row["path"] for row in rows if row["vehicle"] == vehicle and row["camera"] == "cam01"]
        gallery.enrol(f"vehicle {vehicle}", crops)
    query = next(row for row in rows if row["camera"] == "cam02")
    print("the query is vehicle", query["vehicle"])
    for hit in gallery.search(pictures / query["path"], k=3):
        print(f"  {hit.name}: {hit.score:.3f} {'known' if hit.known else 'not sure'}")

# %% Follow vehicles through two videos; a vehicle has one id in both
for sighting in vreid.track([videos / "cam1.mp4", videos / "cam2.mp4"], model):
    print(f"{sighting.camera} {sighting.first_time:4.1f}-{sighting.last_time:4.1f} s: vehicle {sighting.vehicle}")
