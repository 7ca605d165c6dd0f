"""The judgement as one HTML page: the scores of each camera, and under which ids each true vehicle went over time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from vreid.report.timeline import Bar, timeline
from vreid.runtime.judging.finished import Watched
from vreid.runtime.judging.table import COUNTS, SHARES
from vreid.runtime.sinks.style import head

DRAWN = 60  # vehicles


def page(document: Mapping[str, Any]) -> str:
    """The page of a verdict, with everything in it and nothing fetched."""
    identity = document["identity"]
    every = document["boxes"]["all"]
    figures = [
        ("IDF1", _percent(every["idf1"])),
        ("HOTA", _percent(every["hota"])),
        ("ID switches", str(every["switches"])),
        ("sightings with the right id", _percent(identity["precision"])),
        ("passages with the right id", _percent(identity["recall"])),
        (f"of {identity['found_in_several_cameras']} keep one id over cameras", str(identity["kept_over_cameras"])),
    ]
    rows = [
        [camera, *(_percent(one[name]) for name in SHARES), *(str(one[name]) for name in COUNTS)]
        for camera, one in document["boxes"].items()
    ]
    heads = ["camera", *SHARES.values(), *COUNTS.values()]
    return f"""{head("A run against its ground truth", pictures=False)}<h1>A run against its ground truth</h1>
<p class="soft">{escape(str(document["run"]))} &middot; detector {escape(str(document["detector"]))}</p>
<div class="figures">{"".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in figures)}</div>
<h2>Boxes with ids</h2>
{_table(heads, rows)}
{_timeline(document)}
<footer>Made by vreid eval-run. All figures are in <code>eval.json</code> beside this page.</footer>
</main>
</body>
</html>
"""


def _timeline(document: Mapping[str, Any]) -> str:
    vehicles = document["vehicles"][:DRAWN]
    cameras = {camera: Watched(**watched) for camera, watched in document["cameras"].items()}
    drawing = timeline(
        [bar for vehicle in vehicles for bar in _bars(vehicle, cameras)], [_lane(vehicle) for vehicle in vehicles], ()
    )
    cut = f" The first {DRAWN} of {len(document['vehicles'])} are drawn." if len(document["vehicles"]) > DRAWN else ""
    return (
        "<h2>Ids of each true vehicle</h2>"
        '<p class="note">One lane a vehicle, one colour an id: another colour in a lane is a switch, a thread between lanes '
        f'an id that stands on two vehicles; grey was never found.{cut}</p><div class="panel">{drawing}</div>'
    )


def _lane(vehicle: Mapping[str, Any]) -> str:
    return f"vehicle {vehicle['vehicle']}"


def _bars(vehicle: Mapping[str, Any], cameras: Mapping[str, Watched]) -> Iterator[Bar]:
    for passage in vehicle["passages"]:
        watched = cameras[passage["camera"]]
        watched = watched if watched.timed else replace(watched, frame_rate=1.0)
        stretches = passage["stretches"] or [(None, passage["first_frame"], passage["last_frame"])]
        for number, first, last in stretches:
            begin, end = watched.seconds([first, last + 1]).tolist()
            yield Bar(_lane(vehicle), begin, end, number)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f'<div class="panel scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
