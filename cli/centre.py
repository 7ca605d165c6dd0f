"""`vreid centre run|show`: the process that gives a region's vehicles one identity over all its boxes, and how it stands; the
verbs over all regions are in centre_across.py."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vreid.cli import centre_across, output

if TYPE_CHECKING:
    from vreid.fleet.centre.across import Place
    from vreid.fleet.centre.settings import CentreSettings, RegionSettings


@dataclass(frozen=True)
class Run:
    """Resolve the regions of a centre until Ctrl-C; a second process with the same file waits to take over."""

    file: tyro.conf.Positional[Path]
    """The centre's file, such as centre.toml."""


@dataclass(frozen=True)
class Show:
    """Say of each region who resolves it, what waits, and of each box when it was heard and how its clock is."""

    file: tyro.conf.Positional[Path]
    """The centre's file, such as centre.toml."""
    json: bool = False
    """Print one JSON document on stdout."""


def run(args: Run) -> int:
    from vreid.cli.run import signals
    from vreid.fleet.centre.run import started
    from vreid.fleet.centre.settings import read_centre

    settings, stop = read_centre(args.file, os.environ), threading.Event()
    with ExitStack() as opened:
        opened.enter_context(signals(stop, True, None))
        centre = opened.enter_context(started(settings))
        if settings.metrics is not None:
            from vreid.fleet.centre.metrics import CentreMonitor

            monitor = CentreMonitor(centre.status, settings.metrics, settings.metrics_host)
            opened.callback(monitor.close)
            output.note(f"metrics are at http://{monitor.host}:{monitor.port}/metrics")
        names = ", ".join(region.name for region in settings.regions)
        output.note(f"regions: {names}; Ctrl-C ends it")
        centre.wait(stop)
    return 0


def show(args: Show) -> int:
    from vreid.fleet.centre.settings import read_centre

    settings = read_centre(args.file, os.environ)
    found = [_shown(settings, region) for region in settings.regions]
    same, beyond = _same(settings)
    faults: dict[str, list[str]] = {}
    for one in found:
        if one["fault"] is not None:
            faults.setdefault(one["fault"], []).append(one["region"])
    if args.json:
        output.document({"regions": found, "same": [[*map(str, group)] for group in same], "same_fault": beyond})
        return int(bool(faults))
    rows = [
        (one["region"], one["holder"] or ("nobody" if one["waiting"] else "?"), one["epoch"] or "", *_amounts(one))
        for one in found
    ]
    columns = ("region", "resolved by", "epoch", "log", "identities", "pictures", "removals")
    output.table("regions, and what waits", columns, rows)
    boxes = [
        (one["region"], box["name"], _moment(box["heard"]), f"{box['ahead']:+.1f} s")
        for one in found for box in one["boxes"]
    ]  # fmt: skip
    if boxes:
        output.table("boxes", ("region", "box", "last message", "clock, to the log's"), boxes)
    if same:
        output.table(
            "one vehicle in several regions", ("vehicles",), [(centre_across.joined(group),) for group in same]
        )
    for fault, regions in faults.items():
        output.note(f"{', '.join(regions)}: {fault}")
    if beyond is not None:
        more = "" if beyond in faults else f": {beyond}"
        output.note(f"which vehicles of several regions are the same is not known now{more}")
    return int(bool(faults))


def _same(settings: "CentreSettings") -> "tuple[list[list[Place]], str | None]":
    """The vehicles of several regions that people have called the same; or why that cannot be said."""
    from vreid.fleet.centre.across import opened, same_groups
    from vreid.models.errors import VreidError

    if len(settings.regions) < 2:
        return [], None
    try:
        with opened(settings) as galleries:
            return sorted(map(sorted, {*same_groups(galleries).values()})), None
    except VreidError as error:
        return [], str(error)


def _amounts(one: dict[str, Any]) -> list[Any]:
    amounts = [one["behind"], *(one["waiting"].get(what) for what in ("identities", "pictures", "removals"))]
    return ["?" if amount is None else amount for amount in amounts]


def _shown(settings: "CentreSettings", region: "RegionSettings") -> dict[str, Any]:
    """What a region's gallery and its log say; `fault`: why one of the two says nothing."""
    from vreid.fleet.centre.publisher import inbox_of
    from vreid.fleet.link import CentreAway
    from vreid.models.errors import VreidError
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.network_address import shown_address

    found: dict[str, Any] = {
        "region": region.name, "holder": None, "epoch": None, "behind": None, "waiting": {}, "boxes": [], "fault": None
    }  # fmt: skip
    try:
        with read_gallery(region.gallery) as gallery, gallery.reading() as store:
            inbox = inbox_of(store)
            lease = inbox.lease()
            found |= {"waiting": dict(inbox.waiting()), "boxes": [asdict(box) for box in inbox.boxes()]}
        if lease is not None:
            found |= {"holder": lease.holder, "epoch": lease.epoch}
        found["behind"] = asyncio.run(_behind(settings, region.name))
    except CentreAway as away:
        found["fault"] = f"{shown_address(settings.server)}: {away}"
    except VreidError as error:
        found["fault"] = str(error)
    return found


async def _behind(settings: "CentreSettings", region: str) -> int | None:
    from vreid.fleet.centre.log import waiting_in
    from vreid.fleet.link import joined

    async with joined(settings.server, "vreid centre show", settings.credentials, settings.ca) as client:
        return await waiting_in(client, region)


def _moment(seconds: float) -> str:
    ago = time.time() - seconds
    return f"{datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec='seconds')} ({ago:.0f} s ago)"


Args = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[centre_across.Search, tyro.conf.subcommand("search")]
    | Annotated[centre_across.Reconcile, tyro.conf.subcommand("reconcile")]
    | Annotated[centre_across.Proposals, tyro.conf.subcommand("proposals")]
    | Annotated[centre_across.Answer, tyro.conf.subcommand("answer")]
)
_VERBS: dict[type[Any], Callable[[Any], int]] = {
    Run: run,
    Show: show,
    centre_across.Search: centre_across.search,
    centre_across.Reconcile: centre_across.reconcile,
    centre_across.Proposals: centre_across.proposals,
    centre_across.Answer: centre_across.answer,
}


def main(args: Any) -> int:
    """Carry one verb out; exit code 0, and 1 where something of what is to be shown or compared is away."""
    return _VERBS[type(args)](args)
