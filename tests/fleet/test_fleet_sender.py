"""What a box sends to a real NATS server: in order, once, dropped when acknowledged, bounded while the server is away."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_box import box_in, numbers_of, outbox_of, settings, sizes, written
from made_gallery import noise, opened, sighting
from made_outputs import until
from real_nats import NatsServer, make_streams, nats_in, pictures_in, self_signed, stored_in, with_accounts, with_client

from vreid.fleet.link import CentreAway
from vreid.fleet.messages import as_bytes, message_of, number_of, read_message
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import source_of, subject_of
from vreid.runtime.gallery import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with box_in(tmp_path / "g.db") as gallery:
        yield gallery


def test_all_that_waits_is_sent_in_order_with_its_pictures_and_then_dropped(
    server: NatsServer, gallery: Gallery
) -> None:
    cameras = ["gate", "north yard", "a.b*>", "門 1", "بوابة"]
    for number in range(300):
        written(gallery, cameras[number % 5], number)
    every = [one.seq for one in outbox_of(gallery).messages(1000)]
    done = Sender(settings(server), gallery).send_all()
    assert (done.sent, done.sent_pictures, done.waiting, done.waiting_bytes) == (300, 300, 0, 0)
    stored = stored_in(server.url)
    assert numbers_of(stored, "box 1") == every and sizes(gallery).oldest is None
    assert [source_of(each.subject) for each in stored[:5]] == [("north", "box 1", camera) for camera in cameras]
    pictures = pictures_in(server.url)
    assert {read_message(each.body).thumbnail for each in stored} == set(pictures)  # type: ignore[union-attr]
    assert all(hashlib.sha256(jpeg).hexdigest() == name for name, jpeg in pictures.items())
    assert Sender(settings(server), gallery).send_all().sent == 0


def test_two_boxes_are_kept_apart_by_their_names(server: NatsServer, tmp_path: Path) -> None:
    numbers = {}
    for box in ("east", "west:2"):
        with box_in(tmp_path / f"{len(numbers)}.db") as gallery:
            for track in range(40):
                written(gallery, track=track)
            numbers[box] = [one.seq for one in outbox_of(gallery).messages(99)]
            Sender(settings(server, box), gallery).send_all()
    stored = stored_in(server.url)
    assert {box: numbers_of(stored, box) for box in numbers} == numbers and len(stored) == 80


def test_what_was_stored_before_is_acknowledged_again_and_not_stored_twice(
    server: NatsServer, gallery: Gallery
) -> None:
    for track in range(20):
        written(gallery, track=track)
    waiting = outbox_of(gallery).messages(10)  # as if the box had been killed before it could drop them

    async def publish(client: object) -> None:
        for each in waiting:
            message = message_of(each, "box 1", "aaaaaaaa")
            body, headers = as_bytes(message), {"Nats-Msg-Id": number_of(message)}
            await client.jetstream().publish(subject_of("north", "box 1", "gate"), body, headers=headers)  # type: ignore[attr-defined]

    with_client(server.url, publish)
    assert Sender(settings(server), gallery).send_all().sent == 20
    stored = numbers_of(stored_in(server.url), "box 1")
    assert len(stored) == len(set(stored)) == 20 and sizes(gallery).messages == 0


def test_without_a_stream_nothing_is_dropped_and_without_a_bucket_only_pictures_wait(
    tmp_path: Path, gallery: Gallery
) -> None:
    written(gallery)
    with nats_in(tmp_path) as server:
        with pytest.raises(CentreAway, match="no stream for these messages"):
            Sender(settings(server), gallery).send_all()
        assert sizes(gallery).messages == 1

        async def only_a_stream(client: object) -> None:
            await client.jetstream().add_stream(name="SIGHTINGS", subjects=["v1.*.*.*"])  # type: ignore[attr-defined]

        with_client(server.url, only_a_stream)
        with pytest.raises(CentreAway, match="no object store vreid-pictures"):
            Sender(settings(server), gallery).send_all()
        assert (sizes(gallery).messages, sizes(gallery).pictures) == (0, 1)


def test_a_box_that_is_cut_off_goes_on_within_its_room_and_sends_in_order_afterwards(
    server: NatsServer, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    caplog.set_level(logging.INFO, "vreid")
    room = 150_000
    sender = Sender(settings(server, room=room), gallery)
    sender.start()
    for track in range(400):
        gallery.add_sighting(1, sighting(track % 7, track=track, picture=noise(track)), 0.5)
    assert until(lambda: sizes(gallery).dropped_messages > 0 and sizes(gallery).bytes <= room)
    cut = sizes(gallery)
    assert cut.pictures == 0 and cut.dropped_pictures == 400 and cut.messages + cut.dropped_messages == 400
    assert until(lambda: any("are dropped" in each.message for each in caplog.records))
    assert sender.status().alive is False
    left = [one.seq for one in outbox_of(gallery).messages(1000)]
    for track in range(10):  # what is written next finds room again
        written(gallery, track=400 + track)
    left += [one.seq for one in outbox_of(gallery).messages(1000)][len(left) :]
    server.start()
    assert until(lambda: sizes(gallery).oldest is None)
    assert until(lambda: sender.status().alive and sender.status().lag_s == 0)
    sender.close()
    stored = numbers_of(stored_in(server.url), "box 1")
    assert stored == [number for number in left if number in set(stored)] and len(stored) >= len(left) - 10
    away = [each.message for each in caplog.records if "is tried again" in each.message]
    assert away and len(away) < 5  # an outage is said, not each attempt


def test_who_is_removed_while_the_centre_is_away_is_never_sent(server: NatsServer, gallery: Gallery) -> None:
    other = gallery.add_vehicle()
    kept, gone = written(gallery), gallery.add_sighting(other, sighting(5, picture=noise(99)), 0.5)
    picture = gallery.sighting_picture(gone)
    assert kept and picture is not None
    gallery.remove(other)
    numbers = [each.vehicle_number for each in outbox_of(gallery).messages(9)]
    Sender(settings(server), gallery).send_all()
    what = [(read_message(each.body).what, read_message(each.body).vehicle) for each in stored_in(server.url)]
    assert what == [("sighting", numbers[0]), ("removed", numbers[1])]
    assert hashlib.sha256(picture).hexdigest() not in pictures_in(server.url)


def test_the_run_is_never_waited_for(server: NatsServer, gallery: Gallery) -> None:
    """A server that takes connections and answers nothing is no reason to wait."""
    import socket

    server.stop()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", server.port))
        mute.listen()
        sender = Sender(settings(server), gallery)
        sender.start()
        for track in range(50):
            written(gallery, track=track)
        assert sizes(gallery).messages == 50
        assert until(lambda: sender.status().retries > 0) and sizes(gallery).messages == 50
        sender.close()


def test_an_account_and_a_certificate_are_needed_where_the_server_wants_them(
    tmp_path: Path, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = self_signed(tmp_path)
    lines = (
        f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}',
        'authorization { user: "box", password: "secret-7" }',
    )
    written(gallery)
    with nats_in(tmp_path, *lines, scheme="tls", account="box:secret-7") as server:
        import ssl

        trusting = {"tls": ssl.create_default_context(cafile=str(certificate))}
        make_streams(server.url, **trusting)
        with pytest.raises(CentreAway, match="certificate") as untrusted:
            Sender(settings(server), gallery).send_all()
        wrong = server.url.replace("secret-7", "secret-8")
        with pytest.raises(CentreAway, match=r"[Aa]uthorization") as barred:
            Sender(settings(server, server=wrong, ca=certificate), gallery).send_all()
        assert Sender(settings(server, ca=certificate), gallery).send_all().sent == 1
        assert len(stored_in(server.url, **trusting)) == 1
    said = str(untrusted.value) + str(barred.value) + caplog.text + json.dumps(repr(settings(server)))
    assert "secret" not in said


def test_a_file_of_an_account_lets_a_box_in_and_without_it_it_stays_out(tmp_path: Path, gallery: Gallery) -> None:
    lines, credentials = with_accounts(tmp_path)
    written(gallery)
    with nats_in(tmp_path, *lines) as server:
        make_streams(server.url, user_credentials=str(credentials))
        with pytest.raises(CentreAway, match=r"[Aa]uthorization"):
            Sender(settings(server), gallery).send_all()
        assert Sender(settings(server, credentials=credentials), gallery).send_all().sent == 1
        assert len(stored_in(server.url, user_credentials=str(credentials))) == 1


def test_a_gallery_without_its_outbox_is_tried_again(
    server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "bare.db") as gallery:
        sender = Sender(settings(server), gallery)
        sender.start()
        try:
            assert until(lambda: sender.status().retries > 1) and "has no outbox" in caplog.text
            outbox_of(gallery)
            gallery.add_vehicle()
            written(gallery)
            assert until(lambda: sender.status().sent == 1), sender.status()
        finally:
            sender.close()
    assert caplog.text.count("has no outbox") < 3


def test_why_a_stream_takes_nothing_is_said(tmp_path: Path, gallery: Gallery) -> None:
    from nats.js.api import DiscardPolicy, StreamConfig

    async def full(client: Any) -> None:
        small = {"max_bytes": 200, "discard": DiscardPolicy.NEW}
        await client.jetstream().add_stream(StreamConfig(name="S", subjects=["v1.>"], **small))

    written(gallery)
    with nats_in(tmp_path) as server:
        with_client(server.url, full)
        with pytest.raises(CentreAway, match="the server refuses it: maximum bytes exceeded"):
            Sender(settings(server), gallery).send_all()
    assert sizes(gallery).messages == 1


def test_a_file_of_an_account_that_is_broken_is_said_and_ends_nothing(tmp_path: Path, gallery: Gallery) -> None:
    (tmp_path / "server").mkdir()
    lines, file = with_accounts(tmp_path / "server")
    text = file.read_text(encoding="utf-8")
    with nats_in(tmp_path / "server", *lines) as server:
        for broken in (
            b"hello",
            text.partition("-----BEGIN USER")[0].encode(),
            text[text.index("-----BEGIN USER") :].encode(),  # nats-py reads it for ever
            text.replace("SU", "SUXX").encode(),
            bytes(9),
        ):
            file.write_bytes(broken)
            with pytest.raises(CentreAway, match="is not an account as NATS's tool nsc writes it"):
                Sender(settings(server, credentials=file), gallery).send_all()


def test_a_file_of_an_authority_that_holds_no_certificate_is_named(tmp_path: Path, gallery: Gallery) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with nats_in(tmp_path) as server, pytest.raises(CentreAway, match=r"ca\.pem of its authority has no certificate"):
        Sender(settings(server, ca=file), gallery).send_all()


def test_what_is_never_dropped_is_not_said_to_be(
    server: NatsServer, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    written(gallery)
    gallery.remove(1)
    sender = Sender(settings(server, room=1), gallery)
    sender._keep_bound()
    assert sizes(gallery).messages == 1 and sizes(gallery).bytes > 1 and not caplog.text
