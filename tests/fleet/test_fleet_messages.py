"""The names in subjects and the form of messages: any script there and back, and a document that is that of the code."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_gallery import opened, sighting

from vreid.cli.main import main
from vreid.fleet.messages import SightingMessage, as_bytes, message_of, picture_name, read_identity, read_message
from vreid.fleet.subjects import name_of, source_of, subject_of, token_of
from vreid.models.errors import Refused

NAMES = [
    "gate",
    "north yard",
    "a.b",
    "*",
    ">",
    "",
    "%",
    "%20",
    "門 1",
    "بوابة",
    "Müller's",
    "🚗",
    "\t\n",
    "a" * 60,
    "$SYS",
    "é",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_part_of_a_subject_and_comes_back(name: str) -> None:
    token = token_of(name)
    assert token and token.isascii() and not set(token) & set(" .*>\t\r\n$") and name_of(token) == name
    assert source_of(subject_of(name, "box", "gate")) == (name, "box", "gate")
    assert source_of(subject_of("north", name, name)) == ("north", name, name)


def test_no_two_names_become_one() -> None:
    assert len({token_of(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize(
    "subject",
    ["v1.a", "v1.a.b", "v1.a.b.c.d", "v2.a.b.c", "v1.a b.c.d", "v1.%zz.c.d", "v1.a.%FF.c", "v1.a..c", "v1.a.b.%e9"],
)
def test_another_subject_is_refused(subject: str) -> None:
    with pytest.raises(Refused, match="subject"):
        source_of(subject)


def test_a_message_says_all_of_a_sighting(tmp_path: Path) -> None:
    with opened(tmp_path / "g.db") as gallery:
        with gallery.transaction() as store:
            outbox = store.outbox(make=True)
        assert outbox is not None
        vehicle = gallery.add_vehicle()
        seen = sighting(3, camera="門 1", first_time=1.0, last_time=4.5, seen=1.7e9, plate="B-XY 1")
        number = gallery.add_sighting(vehicle, seen, 0.5)
        picture = gallery.sighting_picture(number)
        gallery.remove(gallery.add_vehicle())
        first, removed = (message_of(each, "box 1", "aaaaaaaa") for each in outbox.messages(9))
    assert isinstance(first, SightingMessage) and read_message(as_bytes(first)) == first and picture is not None
    assert (first.what, first.camera, first.t0, first.t1) == ("sighting", "門 1", 1.7e9 - 3.5, 1.7e9)
    assert (first.kind, first.plate, first.quality) == ("car", "B-XY 1", 0.5)
    assert (first.box, first.fingerprint, first.thumbnail) == ("box 1", "aaaaaaaa", picture_name(picture))
    assert np.array_equal(first.features(), seen.feature[None].astype(np.float16))
    assert read_message(as_bytes(removed)) == removed and removed.what == "removed"
    assert removed.vehicle == first.vehicle + 1 and first.sighting - number == first.vehicle - vehicle > 0  # one base


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"more": 1}, {"t1": 1e12}, {"prototypes": ["", ""] * 5}, {"what": "new"}]
)
def test_what_is_not_a_message_is_refused(change: dict[str, object]) -> None:
    body = {
        **{"schema": 1, "box": "b", "seq": 1, "fingerprint": "a", "vehicle": 1, "what": "sighting", "sighting": 1},
        **{
            "camera": "c",
            "t0": 0,
            "t1": 1,
            "kind": None,
            "prototypes": [],
            "quality": 0,
            "plate": None,
            "thumbnail": None,
        },
    }
    assert read_message(json.dumps(body).encode()).seq == 1
    with pytest.raises(Refused, match="not a message of a box in version 1"):
        read_message(json.dumps({**body, **change}).encode())


@pytest.mark.parametrize("read", [read_message, read_identity])
@pytest.mark.parametrize("words", ["x" * 1_000_000, "\x1b[31m\nvreid: all is well"])
def test_a_refusal_repeats_little_of_the_senders_words_and_in_one_line(
    words: str, read: Callable[[bytes], object]
) -> None:
    for body in ({"what": words}, {"what": "removed", words: 1}):
        with pytest.raises(Refused) as refused:
            read(json.dumps(body).encode())
        assert len(str(refused.value)) < 250 and str(refused.value).isprintable()


def test_no_number_is_larger_than_a_gallery_keeps() -> None:
    about = {"region": "north", "epoch": 1, "number": 1, "sighting": 1, "vehicle": 1, "name": "a"}
    body = {"schema": 1, "what": "identity", **about}
    assert read_identity(json.dumps(body).encode()).epoch == 1
    for key in ("epoch", "number", "sighting", "vehicle"):
        with pytest.raises(Refused, match=key):
            read_identity(json.dumps({**body, key: 2**63}).encode())


@pytest.mark.parametrize("words", [[], ["--identities"]])
def test_the_schema_of_the_documents_is_that_of_the_messages(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["fleet", "schema", *words]) == 0
    name = "fleet.identities.schema.json" if words else "fleet.schema.json"
    schema = json.loads((root / "docs" / name).read_text(encoding="utf-8"))
    made = f"vreid fleet schema {' '.join(words)} > docs/{name}"
    assert json.loads(capsys.readouterr().out) == schema, f"it is old: {made}"
    if not words:
        assert schema["$defs"]["SightingMessage"]["properties"]["prototypes"]["maxItems"] == 8
