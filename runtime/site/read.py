"""A site's file read: TOML, its form, its secrets and its paths; every fault of it as a sentence."""

import difflib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vreid.models.errors import Refused, shown
from vreid.models.files import regular
from vreid.runtime.amounts import bytes_of, duration_of
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery_place import GalleryPlace, place_of
from vreid.runtime.network_address import substituted
from vreid.runtime.public_models import is_public, models_folder, with_public_model
from vreid.runtime.session import CameraSettings, FleetSettings, Regions, Site
from vreid.runtime.site.schema import FOR_EVER, TABLE, TEXT, CameraTable, FleetTable, Secret, SiteFile
from vreid.runtime.sources.table import address_of
from vreid.runtime.topology import Layout, topology_of
from vreid.runtime.watches import faults_of_all

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Given = TypeVar("Given")
_ROUNDS = 4  # in which what is wrong is taken out, to find more
# What a site cannot do without, and where it is missing is taken to look for more faults.
_STAND_INS: dict[tuple[int | str, ...], dict[str, Any]] = {
    ("gallery",): {"enrol_unknown": True},
    ("outputs",): {"folder": "."},
    ("outputs", "folder"): {"folder": "."},
}
SECRET = ("uri", "to", "uri_file", "server")  # keys whose values no message repeats
_FILES = ("file", "folder", "pattern", "picture")  # kinds of sources that are paths
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


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
    try:
        table = tomllib.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Refused(f"the site's file {path} cannot be read ({reason}); check the path") from error
    except tomllib.TOMLDecodeError as error:
        return None, [f"{path} is not TOML ({error}); correct that line"]
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
        wrong |= dict.fromkeys(sentence_of(each) for each in errors if not (dropped and _follows(each, dropped)))
        for each in errors:
            place = [part for part in each["loc"] if part not in (TEXT, TABLE, "[key]")]
            if each["type"] == "missing" and tuple(place) in _STAND_INS:
                table[str(place[0])] = {**table.get(str(place[0]), {}), **_STAND_INS[tuple(place)]}
                continue
            dropped |= _drop(table, place)
            if each["type"] == "extra_forbidden":  # and what it was meant to be
                dropped |= {*re.findall(r"'(\w+)'", sentence_of(each))}
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


class _Reading:
    """A form made into a site; gathers what is wrong on the way."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.faults: list[str] = []

    def site(self, form: SiteFile) -> Site:
        """Not to be used where there are faults."""
        gallery, thresholds, outputs, metrics = form.gallery, form.thresholds, form.outputs, form.metrics
        retain = gallery.retain
        return Site(
            cameras=tuple(filter(None, (self._camera(name, table, form) for name, table in form.camera.items()))),
            topology=self._topology(form),
            model=self._model(form.model),
            threads=form.threads,
            embed=form.embed,
            plates=form.plates,
            strict=form.strict,
            gallery=None if gallery.file is None else self._gallery(gallery.file),
            enrol_unknown=gallery.enrol_unknown,
            index=gallery.index,
            watch=tuple(each.watch for each in form.watch),
            retain=None if retain is None else math.inf if retain == FOR_EVER else duration_of(retain),
            false_match_rate=thresholds.false_match_rate,
            threshold=thresholds.threshold,
            new_below=thresholds.new_below,
            most_new=form.guards.most_new,
            least_quality=form.guards.least_quality,
            out=self._path(outputs.folder),
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
        uri = self._secret(text, where)
        address = None if uri is None else self._tried(lambda: address_of(f"camera={uri}"), where)
        if address is None or uri is None:
            return None
        return f"{self._path(address.where)}{'/' if uri.endswith('/') else ''}" if address.kind in _FILES else uri

    def _secret(self, text: str, where: str) -> str | None:
        """`text` with its secrets; None where one is not there."""
        return self._tried(lambda: substituted(text, self.environment), where)

    def _gallery(self, text: str) -> GalleryPlace | None:
        """Its file, from the site's folder on, or its address with its secrets; None: at fault."""
        where = "'file' in [gallery]"
        if "://" not in text:
            return self._path(text)
        address = self._secret(text, where)
        return None if address is None else self._tried(lambda: place_of(address), where)

    def _output(self, address: str | Secret) -> str | None:
        text = self._from_file(address.uri_file) if isinstance(address, Secret) else address
        return self._secret(text, "'to' in [outputs]")

    def _fleet(self, table: FleetTable) -> FleetSettings:
        files = {
            name: None if text is None else self._path(text)
            for name, text in (("credentials", table.credentials), ("ca", table.ca))
        }
        for name, path in files.items():
            if path is not None and not path.is_file():
                self.faults.append(f"'{name}' in [fleet]: there is no file {path}; correct the path")
        server = self._secret(table.server, "'server' in [fleet]") or ""
        return FleetSettings(box=table.box, region=table.region, server=server, room=bytes_of(table.room), **files)

    def _from_file(self, name: str) -> str:
        """The text that stands for the content of a file, as a secret of it alone."""
        return f"${{file:{self._path(name)}}}"

    def _topology(self, form: SiteFile) -> Path | Layout | None:
        if isinstance(form.topology, Layout):
            layout = form.topology
            self._tried(lambda: topology_of(layout, list(form.camera), "[topology]"), "")
            return layout
        return None if form.topology is None else self._path(form.topology)

    def _tried(self, step: Callable[[], Given], where: str) -> Given | None:
        """What the step gives; None where it refuses, which is gathered."""
        try:
            return step()
        except Refused as refused:
            self.faults.append(f"{where}: {refused}" if where else str(refused))
            return None

    def _model(self, text: str) -> str:
        """The name of a bundled model, or the path of a manifest."""
        path = self._path(text)
        return str(path) if path.suffix == ".json" or path.is_file() else text

    def _detector(self, text: str) -> str:
        """The detector with the path in it, `NAME:PATH?options`, from the site's folder on, or of a public model."""
        name, colon, rest = text.partition(":")
        target, mark, options = rest.partition("?")
        if is_public(target) and not self._path(target).exists():
            return self._tried(lambda: with_public_model(text, models_folder(self.environment)), "'detector'") or text
        return f"{name}{colon}{self._path(target) if target else ''}{mark}{options}"

    def _path(self, text: str) -> Path:
        return self.folder / Path(text).expanduser()


def sentence_of(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors: table, key, and what is expected."""
    table, key, form = _place(error["loc"])
    head = _header(table) if table else "the file"
    message, kind = error["msg"], error["type"]
    if kind == "extra_forbidden":
        return f"{head} has no key '{shown(key)}'; {_nearest(key, form, table)}"
    if (table, key) == ("", "camera") and kind in ("missing", "too_short"):
        return "the file names no camera; add [camera.NAME] with a uri"
    if kind == "missing" and not key:
        return f"the file has no table {head}; add it"
    if kind == "missing":
        about = (form.model_fields[key].description or "").rstrip(".")
        return f"{head} lacks '{key}' ({about[:1].lower()}{about[1:]}); add it"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return f"'{key}' in {head}: {message}" if key else f"{head} {message}"
    where = f"'{key}' in {head}" if key and table else f"'{key or table}'"
    if kind in ("model_type", "dict_type"):
        return f"{where} should be a table, not {_shown(error['input'])}"
    if not message.startswith("Input should be"):
        return f"{where}: {message[0].lower()}{message[1:]}"
    given = "" if any(part in SECRET for part in error["loc"]) else f", not {_shown(error['input'])}"
    return f"{where}{message.removeprefix('Input')}{given}"


def _header(table: str) -> str:
    """[table], or which of the [[tables]] of one name it is."""
    name, _, number = table.removesuffix("]").partition("[")
    return _place_text(name, int(number)) if number.isdecimal() else f"[{table}]"


def _place_text(table: str, index: int) -> str:
    """What the [[table]] at `index` from 0 is called in a message."""
    return f"the {_PLACES[index]} [[{table}]]" if index < len(_PLACES) else f"[[{table}]] number {index + 1}"


def key_text(name: str) -> str:
    """A key as it is written in TOML: in quotes unless it has only letters, digits, "_" and "-"."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _place(loc: Sequence[int | str]) -> tuple[str, str, type[BaseModel]]:
    """An error's place -> the header of its table without brackets, the key in it ("" for the table itself), its form."""
    form: type[BaseModel] = SiteFile
    table: list[str] = []
    key: list[str] = []
    inner: type[BaseModel] | None = None  # the form of the table that the next part of the place may begin
    for part in loc:
        if part in (TEXT, TABLE, "[key]"):
            continue
        if isinstance(part, int):
            key[-1:] = [f"{key[-1]}[{part}]"]
        else:
            key.append(key_text(part))
        if inner is not None:
            table, key, form, inner = [*table, *key], [], inner, None
        elif part in form.model_fields and len(key) == 1:
            hint = form.model_fields[str(part)].annotation
            found = _tables_in(hint)
            if found and getattr(hint, "__origin__", None) in (dict, list, tuple):
                inner = found[0]
            elif found:
                table, key, form = [*table, *key], [], found[0]
    return ".".join(table), ".".join(key), form


def _tables_in(hint: Any) -> list[type[BaseModel]]:
    """The forms of tables that a type hint names."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [found for part in getattr(hint, "__args__", ()) for found in _tables_in(part)]


def _nearest(key: str, form: type[BaseModel], table: str) -> str:
    """What was meant by a key that is not there: the nearest of its own table, or the same one of another."""
    if close := difflib.get_close_matches(key, form.model_fields, 1, 0.55):
        return f"did you mean '{close[0]}'?"
    for name, field in SiteFile.model_fields.items():
        for other in _tables_in(field.annotation):
            if key in other.model_fields:
                return f"it belongs into [{name}{'.NAME' if name == 'camera' else ''}]"
    if table and key in SiteFile.model_fields:
        return "it belongs to the top of the file, above all tables"
    nearest = difflib.get_close_matches(key, form.model_fields, 1, 0.0)[0]
    return f"the nearest is '{nearest}', and all are: {', '.join(form.model_fields)}"


def _shown(value: object) -> str:
    return "a table" if isinstance(value, dict) else shown(repr(value))
