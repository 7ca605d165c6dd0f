"""What holds for the site, read-only; the model, the thresholds, purges, the audit."""

from datetime import date
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse

from vreid.models.errors import BadInput
from vreid.report.formats import MISSING, number
from vreid.runtime.gallery.requests import Calibrate, Purge
from vreid.runtime.judged_pairs import FEWEST
from vreid.runtime.network_address import shown_address
from vreid.runtime.session import Site
from vreid.runtime.threshold_summary import MOST_DRAWINGS, SitePage, site_page
from vreid.serve import days
from vreid.serve.cameras import SiteCamera, cameras_of, seen_cameras
from vreid.serve.documents import Number
from vreid.serve.editing import edited
from vreid.serve.forms import Admin, Viewer
from vreid.serve.page_reading import answered, audit
from vreid.serve.persons import Served, may
from vreid.serve.reading import Reading
from vreid.serve.rendering import after, page
from vreid.serve.rights import Person
from vreid.serve.service import Service

routes = APIRouter()
PART = 50  # rows of the audit
OF_NO_CAMERA = ("calibrated", "false_match_rate", "compared", "others")  # of what a threshold says of itself
Facts = list[tuple[str, str]]


@routes.get("/settings")
def settings_page(request: Request, service: Served, person: Viewer) -> HTMLResponse:
    """Nothing can be changed here but what a button says."""
    reading, site = Reading(service.access, person), service.site()
    with service.access.reading() as gallery:
        stats = gallery.stats()
    place = service.access.place
    keeps = MISSING if stats.retention is None else f"{stats.retention / 86400:g} days"
    gallery_facts: Facts = [
        ("file" if isinstance(place, Path) else "database", place.name),
        ("vehicles", number(stats.vehicles)),
        ("features", number(stats.prototypes)),
        ("sightings", number(stats.sightings)),
        ("oldest sighting", days.moment(stats.oldest)),
        ("newest sighting", days.moment(stats.newest)),
        ("sightings are kept for", "ever" if stats.retention is None else keeps),
        ("size", f"{number(stats.bytes / 1e6, 1)} MB"),
        ("changes in the audit", number(stats.changes)),
    ]
    return page(
        request, "settings.html.j2", site=_site_facts(site), cameras=_cameras(site, person),
        gallery=gallery_facts, model=_model_facts(service), thresholds=_thresholds(service, person),
        answered=answered(reading), fewest=FEWEST, today=date.today().isoformat(),
    )  # fmt: skip


def _site_facts(site: Site | None) -> Facts:
    """What the site's file says, without secrets."""
    if site is None:
        return []
    said = "learnt at this site" if site.threshold is None else f"{site.threshold:g}, fixed"
    layout = site.topology
    return [
        ("model", Path(site.model).name),
        ("unknown vehicles get an id", "yes" if site.enrol_unknown else "no"),
        ("threshold", said),
        ("false matches, at most", f"{100 * site.false_match_rate:g} %"),
        ("least quality of a new vehicle", f"{site.least_quality:g}"),
        ("new vehicles in 10 s beyond which an alarm begins", number(site.most_new) if site.most_new else "no alarms"),
        ("parked after", f"{site.stationary_after:g} s"),
        ("pictures are kept for", site.keep_for or "as long as sightings"),
        ("pictures may have", site.keep_most),
        ("index", site.index),
        (
            "topology",
            "none"
            if layout is None
            else layout.name
            if isinstance(layout, Path)
            else f"{len(layout.pair)} pairs of cameras",
        ),
        ("entries of the watch list", number(len(site.watch))),
        ("plates are read by", site.plates or "nothing"),
        ("outputs", ", ".join(shown_address(address) for address in site.to) or "none"),
        ("metrics at", site.metrics or "none"),
    ]


def _cameras(site: Site | None, person: Person) -> list[tuple[str, ...]]:
    """Of each camera of the site that the person may see: its name, source, detector, rate, what is kept, zones and masks."""
    rows: list[tuple[str, ...]] = []
    for camera in seen_cameras(site, person):
        own = camera.settings
        zones, masks = ", ".join(own.regions.zones) or MISSING, number(len(own.regions.masks))
        rate = MISSING if own.rate is None else f"{own.rate:g}"
        rows.append((camera.name, _source(camera), _detector(own.detector), rate, own.keep, zones, masks))
    return rows


def _source(camera: SiteCamera) -> str:
    """Its address without secrets."""
    return shown_address(camera.settings.source.removeprefix(f"{camera.name}="))


def _detector(text: str) -> str:
    kind, colon, path = text.partition(":")
    return f"{kind}:{Path(path).name}" if colon else kind


def _model_facts(service: Service) -> Facts:
    manifest = service.searcher.embedder.manifest
    p50, p90 = service.searcher.latency()
    size, accuracy, match = manifest.input, manifest.accuracy, manifest.match
    facts: Facts = [
        ("name", manifest.name),
        ("engine", f"{manifest.backend}, {manifest.precision}"),
        ("picture", f"{size.width} × {size.height} pixels"),  # noqa: RUF001
        ("feature", f"{number(manifest.output.dim)} numbers, compared by cosine"),
        ("parameters", number(manifest.cost.params)),
        ("MACs of a picture", number(manifest.cost.macs)),
        ("FLOPs of a picture (2 for each MAC)", number(manifest.cost.flops)),
        ("latency of a picture here, measured now", f"p50 {number(p50, 1)} ms, p90 {number(p90, 1)} ms"),
    ]
    if accuracy is not None:
        facts.append(("mAP and rank 1", f"{accuracy.map:.1f} % and {accuracy.rank1:.1f} % on {accuracy.dataset}"))
    if match is not None:
        facts.append(("threshold of the manifest", f"{match.threshold:.3f}"))
    return [*facts, ("fingerprint", manifest.fingerprint)]


def _thresholds(service: Service, person: Person) -> SitePage:
    """What was learnt here; of all of it who sees some cameras gets what is of no camera, and pairs of these."""
    summary = service.searcher.summary()
    if person.cameras:
        pairs = [pair for pair in summary.get("cameras", ()) if all(map(person.sees, pair["cameras"]))]
        summary = {key: summary[key] for key in OF_NO_CAMERA if key in summary} | {"cameras": pairs}
    return site_page(summary, len(cameras_of(service, person)), MOST_DRAWINGS)


@routes.post("/calibrate")
def calibrate(service: Served, person: Admin) -> Response:
    """Let what was judged count from the next run on."""
    return after("/settings", edited(service, person, Calibrate())["change"])


@routes.post("/purge")
def purge(
    service: Served,
    person: Admin,
    before: Annotated[str, Form(max_length=10)],
    sure: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Forget sightings that ended before a day."""
    if sure != "yes":
        raise BadInput("nothing was purged; say that you want it by the box next to the button")
    begin, _ = days.bounds(days.read_day(before))
    return after("/settings", edited(service, person, Purge(before=begin))["change"])


@routes.get("/audit")
def audit_page(
    request: Request,
    service: Served,
    person: Viewer,
    vehicle: Annotated[Number | None, Query()] = None,
    cursor: Annotated[Number | None, Query()] = None,
    runs: bool = False,
) -> HTMLResponse:
    """Who changed what, the newest first; what runs wrote on request."""
    may(person, "admin")
    found = audit(Reading(service.access, person), vehicle, cursor, PART, runs)
    kept = ("" if vehicle is None else f"&vehicle={vehicle}") + ("&runs=1" if runs else "")
    return page(
        request, "audit.html.j2", changes=found.items, vehicle=vehicle, runs=runs,
        before="" if cursor is None else "/audit" + kept.replace("&", "?", 1),
        after="" if found.next is None else f"/audit?cursor={found.next}{kept}",
    )  # fmt: skip
