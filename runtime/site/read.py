"""A site's file read: TOML, its form, its secrets and its paths; every fault of it as a sentence."""

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vreid.models.errors import Refused
from vreid.runtime.amounts import bytes_of, duration_of
from vreid.runtime.camera_names import nfc
from vreid.runtime.public_models import is_public, models_folder, with_public_model
from vreid.runtime.session import CameraSettings, FleetSettings, Regions, Site
from vreid.runtime.site.form import FormReading, key_text, read_table, sentence_of
from vreid.runtime.site.schema import FOR_EVER, TABLE, TEXT, CameraTable, FleetTable, Secret, SiteFile
from vreid.runtime.sources.table import address_of
from vreid.runtime.topology import Layout, topology_of
from vreid.runtime.watches import faults_of_all

_ROUNDS = 4  # in which what is wrong is taken out, to find more
# What a site cannot do without, and where it is missing is taken to look for more faults.
_STAND_INS: dict[tuple[int | str, ...], dict[str, Any]] = {
    ("gallery",): {"enrol_unknown": True},
    ("outputs",): {"folder": "."},
    ("outputs", "folder"): {"folder": "."},
}
_FILES = ("file", "folder", "pattern", "picture")  # kinds of sources that are paths


def read_site(path: Path, environment: Mapping[str, str], served: bool = False) -> Site:
    """The site of the file at `path`, its secrets filled in; with `served` for a server, whose pages show what the watch list
    finds. Raises Refused with the first of its faults."""
    site, faults = site_and_faults(path, environment, served)
    if faults or site is None:
        more = f" (and {len(faults) - 1} more: vreid site check {path})" if len(faults) > 1 else ""
        raise Refused(faults[0] + more)
    return site


def site_and_faults(path: Path, environment: Mapping[str, str], served: bool = False) -> tuple[Site | None, list[str]]:
    """The site of the file at `path` and a sentence for each fault of the file itself.

    Relative paths in it are from its own folder. Where there are faults it is the site without what is wrong, to look for more
    of them; None where nothing is left. Raises Refused for a file that cannot be read.
    """
    table = read_table(path, "the site's file")
    if isinstance(table, str):
        return None, [table]
    written = _Written.of(table)  # before what is wrong is taken out
    form, wrong = _form(table)
    if form is None:
        return None, [f"{path}: {sentence}" for sentence in wrong]
    reading = _Reading(path.absolute().parent, environment)
    site = reading.site(form)
    reading.faults += faults_of_all(site.watch, written.cameras, written.to, written.plates, shown_here=served)
    return site, [f"{path}: {sentence}" for sentence in (*wrong, *reading.faults)]


@dataclass(frozen=True)
class _Written:
    """What the entries of the watch list are held against, as the file has it: the cameras' names, outputs, and plates."""

    cameras: list[str]
    to: list[Any]
    plates: Any

    @staticmethod
    def of(table: dict[str, Any]) -> "_Written":
        cameras, outputs = table.get("camera"), table.get("outputs")
        to = outputs.get("to") if isinstance(outputs, dict) else None
        names = [nfc(name.strip()) for name in cameras] if isinstance(cameras, dict) else []
        return _Written(names, to if isinstance(to, list) else [] if to is None else [to], table.get("plates"))


def _form(table: dict[str, Any]) -> tuple[SiteFile | None, list[str]]:
    """The form of the file, of what is right in it, and a sentence for each error of pydantic's.

    A table as a whole is looked at only when each of its keys is right, so in the next round; what is wrong there only because
    a key was taken out is left away.
    """
    wrong: dict[str, None] = {}  # in order
    dropped = set[str]()
    for _ in range(_ROUNDS):
        try:
            return SiteFile.model_validate(table), list(wrong)
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(each) for each in error.errors()]
        wrong |= dict.fromkeys(
            sentence_of(each, SiteFile) for each in errors if not (dropped and _follows(each, dropped))
        )
        for each in errors:
            place = [part for part in each["loc"] if part not in (TEXT, TABLE, "[key]")]
            if each["type"] == "missing" and tuple(place) in _STAND_INS:
                table[str(place[0])] = {**table.get(str(place[0]), {}), **_STAND_INS[tuple(place)]}
                continue
            dropped |= _drop(table, place)
            if each["type"] == "extra_forbidden":  # and what it was meant to be
                dropped |= {*re.findall(r"'(\w+)'", sentence_of(each, SiteFile))}
    return None, list(wrong)


def _follows(error: Mapping[str, Any], dropped: Set[str]) -> bool:
    """Whether an error may be there only because keys of these names were taken out."""
    words = {*re.findall(r"\w+", error["msg"]), *map(str, error["loc"][-1:])}
    return error["type"] in ("missing", "too_short") or not words.isdisjoint(dropped)


def _drop(table: Any, place: Sequence[int | str]) -> set[str]:
    """Take the innermost key of a table out that `place` names and that is there; returns it."""
    inner: tuple[dict[str, Any], str] | None = None
    for part in place:
        if isinstance(table, dict) and isinstance(part, str) and part in table:
            inner = table, part
        elif not (isinstance(table, list) and isinstance(part, int) and part < len(table)):
            break
        table = table[part]
    if inner is None:
        return set()
    del inner[0][inner[1]]
    return {inner[1]}


class _Reading(FormReading):
    """A form made into a site; gathers what is wrong on the way."""

    def site(self, form: SiteFile) -> Site:
        """Not to be used where there are faults."""
        gallery, thresholds, outputs, metrics = form.gallery, form.thresholds, form.outputs, form.metrics
        retain = gallery.retain
        return Site(
            cameras=tuple(filter(None, (self._camera(name, table, form) for name, table in form.camera.items()))),
            topology=self._topology(form),
            model=self.model(form.model),
            threads=form.threads,
            embed=form.embed,
            plates=form.plates,
            strict=form.strict,
            gallery=None if gallery.file is None else self.gallery(gallery.file, "'file' in [gallery]"),
            enrol_unknown=gallery.enrol_unknown,
            index=gallery.index,
            watch=tuple(each.watch for each in form.watch),
            retain=None if retain is None else math.inf if retain == FOR_EVER else duration_of(retain),
            false_match_rate=thresholds.false_match_rate,
            threshold=thresholds.threshold,
            new_below=thresholds.new_below,
            most_new=form.guards.most_new,
            least_quality=form.guards.least_quality,
            out=self.path(outputs.folder),
            annotate=outputs.annotate,
            events=outputs.events,
            stationary_after=outputs.stationary_after,
            stationary_every=outputs.stationary_every,
            keep_for=outputs.keep_for,
            keep_most=outputs.keep_most,
            to=tuple(filter(None, (self._output(each) for each in outputs.to))),
            metrics=None if metrics is None else metrics.listen,
            metrics_host=() if metrics is None else tuple(metrics.hosts),
            fleet=None if form.fleet is None else self._fleet(form.fleet),
        )

    def _camera(self, name: str, table: CameraTable, form: SiteFile) -> CameraSettings | None:
        """None where its address is at fault."""
        own = {key: getattr(table, key) for key in table.model_fields_set}
        merged = {**form.defaults.model_dump(), **own}
        text = (table.uri or "") if table.uri_file is None else self._from_file(table.uri_file)
        source = self._source(text, f"[camera.{key_text(name)}]")
        detector = self._detector(merged["detector"])
        if source is None:
            return None
        return CameraSettings(
            source=f"{name}={source}",
            detector=detector,
            min_score=merged["min_score"],
            rate=merged["rate"],
            keep=merged["keep"],
            regions=Regions(
                {zone: tuple((x, y) for x, y in corners) for zone, corners in table.zones.items()},
                {mask: tuple((x, y) for x, y in corners) for mask, corners in table.masks.items()},
                merged["least_box"],
            ),
        )

    def _source(self, text: str, where: str) -> str | None:
        """The address without a name, its secrets filled in, a path of a file from the site's folder on; None: at fault."""
        uri = self.secret(text, where)
        address = None if uri is None else self.tried(lambda: address_of(f"camera={uri}"), where)
        if address is None or uri is None:
            return None
        return f"{self.path(address.where)}{'/' if uri.endswith('/') else ''}" if address.kind in _FILES else uri

    def _output(self, address: str | Secret) -> str | None:
        text = self._from_file(address.uri_file) if isinstance(address, Secret) else address
        return self.secret(text, "'to' in [outputs]")

    def _fleet(self, table: FleetTable) -> FleetSettings:
        credentials, ca = (self.file(getattr(table, name), f"'{name}' in [fleet]") for name in ("credentials", "ca"))
        server = self.server(table.server, "'server' in [fleet]") or ""
        return FleetSettings(
            box=table.box, region=table.region, server=server, room=bytes_of(table.room), credentials=credentials, ca=ca
        )

    def _from_file(self, name: str) -> str:
        """The text that stands for the content of a file, as a secret of it alone."""
        return f"${{file:{self.path(name)}}}"

    def _topology(self, form: SiteFile) -> Path | Layout | None:
        if isinstance(form.topology, Layout):
            layout = form.topology
            self.tried(lambda: topology_of(layout, list(form.camera), "[topology]"), "")
            return layout
        return None if form.topology is None else self.path(form.topology)

    def _detector(self, text: str) -> str:
        """The detector with the path in it, `NAME:PATH?options`, from the site's folder on, or of a public model."""
        name, colon, rest = text.partition(":")
        target, mark, options = rest.partition("?")
        if is_public(target) and not self.path(target).exists():
            return self.tried(lambda: with_public_model(text, models_folder(self.environment)), "'detector'") or text
        return f"{name}{colon}{self.path(target) if target else ''}{mark}{options}"
