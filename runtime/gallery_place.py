"""Where a gallery is: a file, or an address such as postgresql://user@host/database?gallery=NAME."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vreid.models.errors import Refused

DEFAULT_GALLERY = "vreid"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql"}  # libpq takes both
_GALLERY = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,39}")
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]*)(?::[0-9]{0,5})?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*", re.ASCII)


@dataclass(frozen=True)
class DatabaseAddress:
    """A gallery in a database. Messages show `name`, and so does `str`; `uri` may hold a password.

    Attributes:
        kind: which store it is, a key of `vreid.runtime.gallery.store.STORES`.
        uri: what the database's own client takes.
        gallery: which gallery of the database it is.
        name: the address without its passwords.
        path: what the names of files begin with that belong to the gallery and lie on this machine: indexes, kept pictures, tokens.
    """

    kind: str
    uri: str = field(repr=False)
    gallery: str
    name: str
    path: Path

    def __str__(self) -> str:
        return self.name


GalleryPlace: TypeAlias = Path | DatabaseAddress


def place_of(text: "str | os.PathLike[str] | DatabaseAddress") -> GalleryPlace:
    """A gallery's place as somebody writes it; a path object is always a file.

    Raises Refused, which never shows a password, for an address of another kind or one that cannot be read.
    """
    if isinstance(text, DatabaseAddress):
        return text
    scheme = _SCHEME.match(text) if isinstance(text, str) else None
    if scheme is None:
        return Path(text)
    if scheme[1].lower() not in _SCHEMES:
        raise Refused(f"a gallery is a file or postgresql://user@host/database, and not {scheme[1].lower()}://")
    return _database(str(text), _SCHEMES[scheme[1].lower()])


def path_of(place: GalleryPlace) -> Path:
    """The gallery's file; of one in a database what the names of its files on this machine begin with."""
    return place.path if isinstance(place, DatabaseAddress) else place


def made_path_of(place: GalleryPlace) -> Path:
    """`path_of`; the folder for files of a gallery in a database is made. Raises OSError where it cannot be."""
    if isinstance(place, DatabaseAddress):
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path_of(place)


def file_of(place: GalleryPlace, verb: str) -> Path:
    """The gallery's file. Raises Refused for a gallery in a database, for which `verb` has no meaning."""
    if isinstance(place, DatabaseAddress):
        raise Refused(f"{verb} is for a gallery in a file, and {place} is in a database (docs/gallery.md)")
    return place


def may_be_there(place: GalleryPlace) -> bool:
    """False for a file that is missing. Whether a database holds a gallery shows when it is opened."""
    return isinstance(place, DatabaseAddress) or place.exists()


def _database(text: str, kind: str) -> DatabaseAddress:
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise Refused(_unreadable(kind)) from None
    user, at, hosts = parts.netloc.rpartition("@")
    if not _HOSTS.fullmatch(hosts) or "@" in parts.path + parts.query or "#" in text or "/" in parts.path[1:]:
        raise Refused(_unreadable(kind))
    chosen = [value for key, value in query if key == "gallery"]
    gallery = chosen[-1] if chosen else DEFAULT_GALLERY
    if not _GALLERY.fullmatch(gallery):
        raise Refused("?gallery= takes at most 40 of a-z, 0-9 and _, a letter first and not pg_; correct the address")
    rest = [(key, value) for key, value in query if key != "gallery"]
    shown = [(key, value) for key, value in rest if "password" not in key.lower()]
    name = f"{kind}://{user.partition(':')[0]}{at}{hosts}{parts.path}{_query([*shown, ('gallery', gallery)])}"
    path = _folder(hosts, unquote(parts.path[1:]), unquote(user.partition(":")[0]), dict(rest)) / gallery
    return DatabaseAddress(kind, f"{kind}://{parts.netloc}{parts.path}{_query(rest)}", gallery, name, path)


def _query(pairs: list[tuple[str, str]]) -> str:
    return "?" + urlencode(pairs, quote_via=quote, safe="/") if pairs else ""


def _folder(hosts: str, database: str, user: str, more: dict[str, str]) -> Path:
    """A folder of the user's own for the files of one database's galleries; what the address leaves out is libpq's default."""

    def given(text: str, key: str, variable: str, default: str) -> str:
        return text or more.get(key, "") or os.environ.get(variable, "") or default

    server = given(hosts, "host", "PGHOST", "local")
    port = "" if hosts.count(":") else given("", "port", "PGPORT", "")
    named = given(database, "dbname", "PGDATABASE", user or "default")
    if service := more.get("service"):
        server = f"{service}@{server}"
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folders = [quote(server + (port and f":{port}"), safe=":@,[]"), quote(named, safe="")]
    return Path(state).expanduser().joinpath("vreid", "galleries", *(one.replace("..", "%2E%2E") for one in folders))


def _unreadable(kind: str) -> str:
    return (
        f"the {kind}:// address cannot be read; write {kind}://user:password@host:port/database?gallery=NAME, with"
        " '@' '/' '#' '?' ':' in a user name or password as %40 %2F %23 %3F %3A"
    )
