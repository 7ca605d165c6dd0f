"""A gallery's place is a file or an address; no message shows the address's password, and its files lie in the user's state."""

from dataclasses import replace
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.runtime.gallery_place import DatabaseAddress, file_of, may_be_there, path_of, place_of


def address(text: str) -> DatabaseAddress:
    found = place_of(text)
    assert isinstance(found, DatabaseAddress)
    return found


@pytest.mark.parametrize("text", ["known.db", "/data/known.db", "a b/c.db", "postgresql:/known.db"])
def test_a_path_is_a_file(text: str) -> None:
    assert place_of(text) == place_of(Path(text)) == Path(text)
    assert path_of(place_of(text)) == file_of(place_of(text), "a check") == Path(text)


def test_a_path_object_is_a_file_whatever_it_is_called() -> None:
    assert place_of(Path("postgresql://host/db")) == Path("postgresql:/host/db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "PostgreSQL"])
def test_an_address_names_a_database_and_a_gallery_in_it(
    scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = address(f"{scheme}://ann@db-1:5433/city?gallery=north&sslmode=verify-full")
    assert (found.kind, found.gallery) == ("postgresql", "north")
    assert found.uri == "postgresql://ann@db-1:5433/city?sslmode=verify-full"
    assert str(found) == found.name == "postgresql://ann@db-1:5433/city?sslmode=verify-full&gallery=north"
    assert path_of(found) == tmp_path / "vreid" / "galleries" / "db-1:5433" / "city" / "north"
    assert place_of(found) is found and may_be_there(found)
    assert address("postgresql://h/db").gallery == "vreid"


def test_what_an_address_leaves_out_is_as_libpq_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    assert path_of(address("postgresql:///")).parts[-3:] == ("local", "default", "vreid")
    assert path_of(address("postgresql://ann@")).parts[-3:] == ("local", "ann", "vreid")
    assert path_of(address("postgresql:///db?host=/run/pg")).parts[-3:] == ("%2Frun%2Fpg", "db", "vreid")
    assert path_of(address("postgresql:///..")).parts[-2:] == ("%2E%2E", "vreid")
    monkeypatch.setenv("PGHOST", "db-2")
    monkeypatch.setenv("PGPORT", "5444")
    assert path_of(address("postgresql:///db")).parts[-3:] == ("db-2:5444", "db", "vreid")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:s3cret@host/db",
        "postgresql://ann:%40s3cret@host/db",
        "postgresql://ann@host/db?password=s3cret",
        "postgresql://ann@host/db?sslpassword=s3cret&sslmode=require",
    ],
)
def test_a_password_is_passed_on_and_never_shown(text: str) -> None:
    found = address(text)
    assert "s3cret" in found.uri and "s3cret" not in str(found) + repr(found) + repr(replace(found, gallery="x"))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:hu/sh@host/db",
        "postgresql://ann:hu#sh@host/db",
        "postgresql://ann:hu?sh@host/db",
        "postgresql://ann:hush@host:port/db",
        "postgresql://ann:12/hush@host/db",
        "postgresql://ann:hush@host/db/more",
        "postgresql://ann:hush@host/db?gallery",
        "postgresql://ann:hush@host/db?gallery=North",
        "postgresql://ann:hush@host/db?gallery=pg_catalog",
        "postgresql://ann:hush@host/db?gallery=a%22b",
        "mysql://ann:hush@host/db",
        "postgresql://[::1",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refused) as caught:
        place_of(text)
    assert "hu" not in str(caught.value)


def test_what_is_for_files_refuses_a_database() -> None:
    with pytest.raises(Refused, match="a check is for a gallery in a file, and postgresql://host/db"):
        file_of(address("postgresql://host/db"), "a check")


def test_a_missing_file_is_not_there(tmp_path: Path) -> None:
    assert not may_be_there(tmp_path / "g.db")
    (tmp_path / "g.db").touch()
    assert may_be_there(tmp_path / "g.db")
