"""`vreid gallery threshold`: which score counts at this site, what it was learnt from, and whether more is learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vreid.cli import output
from vreid.cli.gallery_reading import OfGallery
from vreid.models.errors import Refused
from vreid.models.files import refuse_same
from vreid.runtime.gallery_place import path_of

if TYPE_CHECKING:
    from vreid.models.manifest import Match
    from vreid.runtime.gallery import Gallery


@dataclass(frozen=True)
class Threshold(OfGallery):
    """The thresholds that runs have learnt at this site, by pair of cameras; or change what is learnt."""

    false_match_rate: float = 0.05
    """Share of new vehicles that may get the id of another one: show the thresholds for it."""
    freeze: bool = False
    """Let runs learn nothing more, so that the thresholds change with the number of vehicles only."""
    unfreeze: bool = False
    """Let runs learn again."""
    reset: bool = False
    """Forget what was learnt, damaged or not, and learn anew from the manifest's threshold on."""
    model: str | None = None
    """Manifest of the gallery's model; not needed for a bundled one."""
    html: Path | None = None
    """Write a page with a curve for each pair of cameras to this file."""


def threshold(args: Threshold) -> int:
    changes = [name for name in ("freeze", "unfreeze", "reset") if getattr(args, name)]
    if len(changes) > 1:
        raise Refused(f"--{changes[0]} and --{changes[1]} cannot both be done; give one of them")
    if changes and args.html is not None:
        raise Refused(f"--html shows, and --{changes[0]} changes; run 'vreid gallery threshold' once for each")
    return _changed(args, changes[0]) if changes else _shown(args)


def _changed(args: Threshold, change: str) -> int:
    from vreid.runtime.gallery import edit_gallery
    from vreid.runtime.gallery.maintenance import forget_threshold, freeze_threshold

    with edit_gallery(args.gallery) as gallery:
        done = forget_threshold(gallery) if change == "reset" else freeze_threshold(gallery, change == "freeze")
    sentence = {
        ("freeze", True): "this site's threshold is frozen; runs use what was learnt and learn nothing more",
        ("freeze", False): "this site's threshold was frozen already",
        ("unfreeze", True): "runs learn this site's threshold again",
        ("unfreeze", False): "this site's threshold was not frozen",
        ("reset", True): "this site's threshold is forgotten; the next run begins with the manifest's",
        ("reset", False): "nothing was learnt about this site's threshold yet",
    }[change, done]
    return output.outcome(args.json, sentence, {"gallery": str(args.gallery), "change": change, "done": done})


def _shown(args: Threshold) -> int:
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.gallery.index.table import files_of
    from vreid.runtime.site_threshold import SiteThreshold
    from vreid.runtime.threshold_summary import HEAD, notes, rows

    if args.html is not None:
        refuse_same(args.html, *files_of(path_of(args.gallery)))
    with read_gallery(args.gallery) as gallery:
        about, vehicles, match = gallery.about, gallery.size()[0], _match(args, gallery)
        rule = SiteThreshold(match, args.false_match_rate, kept=gallery.site_threshold(), dim=about.dim)
    found = rule.summary(vehicles)
    seen = {camera for pair in found["cameras"] for camera in pair["cameras"]}
    if args.html is not None:
        _page(args, about.model, vehicles, found, len(seen))
    if args.json:
        page = {} if args.html is None else {"html": str(args.html)}
        known: dict[str, Any] = {"vehicles": vehicles, "model": about.model, "manifest": match.model_dump()}
        output.document({"gallery": str(args.gallery), **known, **found, **page})
        return 0
    if found["cameras"]:
        output.table(f"thresholds of {args.gallery}", HEAD, rows(found))
    for sentence in notes(found, len(seen)):
        output.result(sentence)
    if args.html is not None:
        output.result(f"the curves are in {args.html}")
    return 0


def _page(args: Threshold, model: str, vehicles: int, found: dict[str, Any], cameras: int) -> None:
    from vreid.report.page import pieces, write_page
    from vreid.runtime.threshold_summary import site_page

    if args.html is not None:
        about = {"name": path_of(args.gallery).name, "model": model, "vehicles": vehicles}
        write_page(args.html, pieces("threshold.html.j2", **about, site=site_page(found, cameras)))


def _match(args: Threshold, gallery: "Gallery") -> "Match":
    """The open-set point of the gallery's model. Raises Refused where its manifest is not known, and for that of another model."""
    from vreid.models.manifest import read_manifest
    from vreid.models.zoo import manifest_path
    from vreid.runtime.embedder import match_of
    from vreid.runtime.gallery.records import About
    from vreid.runtime.gallery.store import refuse_other_model

    about = gallery.about
    try:
        manifest = read_manifest(manifest_path(args.model or about.model))
    except Refused as refused:
        if args.model is not None:
            raise
        raise Refused(
            f"the gallery's model '{about.model}' is not a bundled one; give its manifest with --model MODEL.json"
        ) from refused
    refuse_other_model(about, About(manifest.fingerprint, manifest.output.dim, manifest.name), gallery.name)
    return match_of(manifest)
