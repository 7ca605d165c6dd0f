"""`vreid site VERB`: a site's file checked, drawn, and its schema."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

from tyro.conf import Positional, subcommand

from vreid.cli import output

if TYPE_CHECKING:
    from vreid.runtime.session import FleetSettings


@dataclass(frozen=True)
class Check:
    """Say everything that is wrong with a site's file, without running it; exit code 1 if something is."""

    file: Positional[Path]
    """The site's file, such as site.toml."""
    connect: bool = False
    """Open each camera for one frame, and the connection to the centre of [fleet]."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Draw:
    """Draw the zones and masks of each camera into a frame of it, or into a grey picture where it cannot be had."""

    file: Positional[Path]
    """The site's file, such as site.toml."""
    out: Path
    """Folder for <camera>.jpg."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Schema:
    """Print the JSON schema of a site's file, for editors and programs."""


def check(args: Check) -> int:
    from vreid.runtime.site.check import Findings, check_site
    from vreid.runtime.site.read import site_and_faults

    site, faults = site_and_faults(args.file, os.environ)
    found = Findings() if site is None else check_site(site, args.connect)
    if args.connect and site is not None and site.fleet is not None:
        found.faults.extend(_away(site.fleet))
    faults = [*faults, *(f"{args.file}: {fault}" for fault in found.faults)]
    if args.json:
        cameras = {
            name: {"width": width, "height": height, "frame_rate": rate}
            for name, (width, height, rate) in found.cameras.items()
        }
        output.document({"file": str(args.file), "faults": faults, "cameras": cameras})
        return 1 if faults else 0
    if found.cameras:
        rows = [(name, f"{width} x {height}", rate) for name, (width, height, rate) in found.cameras.items()]
        output.table("cameras", ("camera", "picture", "frames a second"), rows)
    for fault in faults:
        output.result(fault)
    if not faults and site is not None:
        output.result(f"{args.file} is sound: {len(site.cameras)} camera{'s' if len(site.cameras) != 1 else ''}")
    return 1 if faults else 0


def _away(fleet: "FleetSettings") -> "list[str]":
    """Why the centre does not let this box in."""
    import asyncio

    from vreid.fleet.link import CentreAway, try_out
    from vreid.runtime.network_address import shown_address

    try:
        asyncio.run(try_out(fleet))
    except CentreAway as away:
        return [f"[fleet]: {shown_address(fleet.server)}: {away}"]
    return []


def draw(args: Draw) -> int:
    from vreid.runtime.site.draw import draw_site
    from vreid.runtime.site.read import read_site

    drawn = draw_site(read_site(args.file, os.environ).cameras, args.out)
    if args.json:
        pictures = [{"camera": one.camera, "picture": str(one.picture), "fault": one.fault} for one in drawn]
        output.document({"file": str(args.file), "out": str(args.out), "pictures": pictures})
        return 0
    for one in drawn:
        if one.fault is not None:
            output.note(f"{one.camera} is drawn into a grey picture: {one.fault}")
    return output.outcome(False, f"{len(drawn)} pictures are in {args.out}", {})


def schema(args: Schema) -> int:
    from vreid.runtime.site.schema import SiteFile

    output.document(SiteFile.model_json_schema())
    return 0


_VERBS: dict[str, tuple[type, Any]] = {"check": (Check, check), "draw": (Draw, draw), "schema": (Schema, schema)}
Args: Any = Union[tuple(Annotated[flags, subcommand(verb)] for verb, (flags, _) in _VERBS.items())]  # noqa: UP007


def main(args: object) -> int:
    """Carry one verb out; exit code 0, 1 (check found something wrong)."""
    return int(dict(_VERBS.values())[type(args)](args))
