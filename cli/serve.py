"""`vreid serve run|token`: pages and a REST API over a gallery, next to a run or with one; and the tokens that let people in."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vreid.cli import output
from vreid.cli.gallery_place import GalleryFlag
from vreid.models.errors import MOST_COUNT, Refused, refuse_outside, refuse_threads, shown
from vreid.runtime.gallery_place import made_path_of, may_be_there

if TYPE_CHECKING:
    from vreid.runtime.detectors.table import Detector

Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Run:
    """Serve a site with its cameras, or a gallery, which another run may write to meanwhile."""

    site: Annotated[Path | None, tyro.conf.Positional] = None
    """A site's file: its run begins here too, and ends with the server."""
    gallery: GalleryFlag | None = None
    """In place of a site: the gallery's file, or postgresql://user@host/database?gallery=NAME."""
    model: str | None = None
    """The model of that gallery, or with --demo of the scene: manifest .json, or the name of a bundled one."""
    pictures: Path | None = None
    """The folder of the run next to it (vreid run --out FOLDER --annotate), for live pictures."""
    demo: bool = False
    """Serve the synthetic scene, live; no download, nothing is kept."""
    host: str = "127.0.0.1"
    """Address to listen at; beyond this machine it needs a token, and TLS or --behind-proxy."""
    port: int = 8080
    """0: any free one."""
    certificate: Path | None = None
    """PEM file with the certificate of TLS."""
    key: Path | None = None
    """PEM file with its key."""
    behind_proxy: bool = False
    """A proxy in front of the server speaks TLS."""
    served_host: Many = ()
    """A name in the header Host that is served too, besides IP addresses and localhost; may be repeated."""
    tokens: Path | None = None
    """File of the tokens; by default next to the gallery, GALLERY.tokens."""
    threads: int = 1
    """CPU threads of the engine that searches by pictures."""
    requests_a_minute: int = 1200
    """Of one caller, beyond which it has to wait."""
    blur: str | None = None
    """module:function that makes plates and faces unreadable in every picture that is shown or exported."""
    detector: str | None = None
    """Detector that counts vehicles in pictures to enrol by: model:FILE; by default one that vreid get has fetched."""


@dataclass(frozen=True)
class Token:
    """Make a token, which is shown once; list the tokens; revoke one."""

    gallery: GalleryFlag
    """The gallery that the server serves."""
    name: str | None = None
    """Whose it is; it stands in the audit."""
    role: Literal["look", "edit", "admin"] = "look"
    """look: pages and searches; edit: names, merges, answers too; admin: removing, purging, the audit too."""
    camera: Many = ()
    """Only pictures and sightings of this camera; may be repeated."""
    list: bool = False
    """List the tokens."""
    revoke: str | None = None
    """End the token of this name, and its sessions."""
    tokens: Path | None = None
    """File of the tokens; by default next to the gallery, GALLERY.tokens."""
    json: bool = False
    """Print one JSON document."""


ABOUT = "vreid serve SITE is vreid serve run SITE: vreid serve run --help has the flags."
Args = Annotated[Run, tyro.conf.subcommand("run")] | Annotated[Token, tyro.conf.subcommand("token")]


def main(args: Run | Token) -> int:
    """Serve until Ctrl-C, or see to tokens."""
    return _token(args) if isinstance(args, Token) else _run(args)


def _token(args: Token) -> int:
    from vreid.serve.rights import TokenFile, tokens_of

    file = TokenFile(args.tokens or tokens_of(made_path_of(args.gallery)))
    if sum((args.list, args.revoke is not None, args.name is not None)) != 1:
        raise Refused("give one of --name, to make a token, --list and --revoke NAME")
    if args.list:
        rows = [(one.name, one.role, ", ".join(one.cameras) or "all", _day(one.made)) for one in file.tokens()]
        if args.json:
            keys = ("name", "role", "cameras", "made")
            output.document({"tokens": [dict(zip(keys, row, strict=True)) for row in rows]})
        else:
            output.table(f"tokens of {args.gallery}", ("name", "role", "cameras", "made"), rows)
        return 0
    if args.revoke is not None:
        file.revoke(args.revoke)
        return output.outcome(args.json, f"the token '{args.revoke}' is revoked", {"revoked": args.revoke})
    assert args.name is not None
    _note_unseen(args)
    text = file.add(args.name, args.role, args.camera)
    if args.json:
        output.document({"name": args.name, "role": args.role, "token": text})
    else:
        output.result(text)
        output.note(
            "this token is shown once and kept nowhere; send it as 'Authorization: Bearer TOKEN', or sign in with it"
        )
    return 0


def _note_unseen(args: Token) -> None:
    """Say which cameras of the token have no sighting yet. Raises Refused for a gallery that is not there, unless the file of
    the tokens is named: they may come before the gallery."""
    from vreid.runtime.gallery import read_gallery

    if not may_be_there(args.gallery):
        if args.tokens is None:
            raise Refused(
                f"there is no gallery {args.gallery}; before the first run name the file too: --tokens {args.gallery}.tokens"
            )
        return
    with read_gallery(args.gallery) as gallery:
        known = gallery.cameras()
    for camera in args.camera:
        if known and camera not in known:
            output.note(f"no sighting is of the camera '{shown(camera)}' yet; there are some of {', '.join(known)}")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _run(args: Run) -> int:
    from vreid.cli.run import sender_of, signals
    from vreid.runtime.session import Site
    from vreid.runtime.site.read import read_site
    from vreid.runtime.site.reload import Requests
    from vreid.serve.blurring import blur_function
    from vreid.serve.running import Serving, serve_demo, serve_gallery, serve_site
    from vreid.serve.service import Address

    if sum((args.site is not None, args.gallery is not None, args.demo)) != 1:
        raise Refused("give one of the three: a site's file, --gallery with --model, or --demo")
    if args.gallery is not None and args.model is None:
        raise Refused("give with --gallery the --model that it was made with; vreid gallery list names it")
    if args.site is not None and args.model is not None:
        raise Refused("a site's file has its model; leave --model out")
    refuse_threads(args.threads)
    refuse_outside("--port", args.port, 0, 65535)
    refuse_outside("--requests-a-minute", args.requests_a_minute, 1, MOST_COUNT)
    address = Address(args.host, args.port, args.certificate, args.key, args.behind_proxy, tuple(args.served_host))
    stop, requests, file = threading.Event(), Requests(), args.site
    serving = Serving(
        address, args.tokens, stop, output.note, args.threads, args.requests_a_minute,
        None if args.blur is None else blur_function(args.blur), sender_of, _detector(args),
    )  # fmt: skip
    with signals(stop, True, None if file is None else requests.add):
        if args.demo:
            serve_demo(serving, args.model or Site.model)
        elif file is not None:
            serve_site(lambda: read_site(file, os.environ, served=True), file, serving, requests)
        elif args.gallery is not None:
            serve_gallery(args.gallery, str(args.model), args.pictures, serving)
    return 0


def _detector(args: Run) -> "Callable[[], tuple[str, Detector] | None]":
    """What gives the detector that counts vehicles in pictures: the named one, or one that was fetched, opened when it is needed.

    Raises Refused for a named one that is not there.
    """
    from vreid.runtime.detectors.table import open_detector
    from vreid.runtime.enrolment_check import detector_at_hand
    from vreid.runtime.public_models import models_folder, with_public_model

    folder, threads = models_folder(os.environ), args.threads
    if args.detector is None:
        return cache(lambda: detector_at_hand(folder, threads))
    named = args.detector, open_detector(with_public_model(args.detector, folder), threads=threads)
    return lambda: named
