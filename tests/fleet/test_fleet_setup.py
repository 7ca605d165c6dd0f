"""`vreid fleet setup` over a real NATS server: it makes what is missing, names what differs, and changes what can be changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_box import box_in, settings, written
from real_nats import nats_in, self_signed, with_client

from vreid.cli.main import main
from vreid.fleet.sender import Sender


def test_it_makes_both_and_a_second_time_finds_them_as_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_in(tmp_path) as server:
        assert main(["fleet", "setup", server.url]) == 0
        assert "the stream SIGHTINGS was made" in capsys.readouterr().out
        assert main(["fleet", "setup", server.url, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == {"stream": "SIGHTINGS", "made": [], "changed": [], "differing": []}
        with box_in(tmp_path / "g.db") as gallery:
            written(gallery)
            done = Sender(settings(server), gallery).send_all()
        assert (done.sent, done.sent_pictures) == (1, 1)

        async def erased(client: Any) -> bool:
            return bool(await client.jetstream().delete_msg("SIGHTINGS", 1))

        assert with_client(server.url, erased)


def test_what_differs_is_named_and_changed_only_where_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_in(tmp_path) as server:
        main(["fleet", "setup", server.url])
        capsys.readouterr()
        other = [
            "fleet",
            "setup",
            server.url,
            "--keep",
            "7d",
            "--window",
            "1m",
            "--room",
            "2GB",
            "--picture-room",
            "9GB",
        ]
        for _ in range(2):
            assert main(other) == 1
            said = capsys.readouterr().out
            assert "stream SIGHTINGS: max_age is 30d, not 7d: older messages are dropped" in said
            assert "duplicate_window is 2m, not 1m" in said and "max_bytes is unlimited, not 2000000000" in said
            assert "object store vreid-pictures: max_bytes is unlimited, not 9000000000" in said
        assert main([*other, "--update"]) == 0 and "max_age was 30d and is 7d now" in capsys.readouterr().out
        assert main(other) == 0


def test_what_nobody_names_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with nats_in(tmp_path) as server:
        assert main(["fleet", "setup", server.url, "--keep", "20d", "--room", "1GB"]) == 0
        assert main(["fleet", "setup", server.url]) == 0
        assert main(["fleet", "setup", server.url, "--window", "1m", "--update"]) == 0
        capsys.readouterr()
        assert main(["fleet", "setup", server.url, "--keep", "20d", "--room", "off", "--json"]) == 1
        differing = json.loads(capsys.readouterr().out)["differing"]
        assert [(each["of"], each["setting"], each["wanted"]) for each in differing] == [
            ("stream SIGHTINGS", "max_bytes", "unlimited")
        ]


def test_too_much_room_is_refused_with_what_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with nats_in(tmp_path) as server:
        assert main(["fleet", "setup", server.url, "--room", "90000TB"]) == 2
        assert "give a smaller --room" in capsys.readouterr().err
        assert main(["fleet", "setup", server.url]) == 0
        assert main(["fleet", "setup", server.url, "--room", "90000TB", "--update"]) == 2
        said = capsys.readouterr().err
        assert "give a smaller --room" in said and "record" not in said


def test_a_stream_of_another_name_that_takes_the_messages_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def made(client: Any) -> None:
        await client.jetstream().add_stream(name="OTHER", subjects=["v1.>"], deny_delete=True, max_msgs_per_subject=1)

    with nats_in(tmp_path) as server:
        with_client(server.url, made)
        assert main(["fleet", "setup", server.url]) == 1
        said = capsys.readouterr().out
        assert (
            "stream OTHER: subjects is v1.>, not v1.*.*.* v1.identity.*" in said and "discard is old, not new" in said
        )
        assert "deny_delete is yes, not no: a removal is erased from the log, too" in said
        assert "max_msgs_per_subject is 1, not unlimited" in said
        assert main(["fleet", "setup", server.url, "--update"]) == 2
        refused = capsys.readouterr().err
        assert "the server does not change OTHER" in refused and "vreid fleet replay" in refused


def test_a_name_that_is_taken_and_a_cluster_that_is_not_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_in(tmp_path) as server:
        assert main(["fleet", "setup", server.url, "--replicas", "3"]) == 2
        assert "the server does not make the stream SIGHTINGS" in capsys.readouterr().err
        assert main(["fleet", "setup", server.url, "--replicas", "2"]) == 2
        assert "1, 3 or 5" in capsys.readouterr().err
        assert main(["fleet", "setup", server.url, "--keep", "long"]) == 2


def test_a_password_comes_from_the_environment_and_is_shown_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
    with nats_in(
        tmp_path, tls, 'authorization { user: "op", password: "s3cret/@" }', scheme="tls", account="op:s3cret%2F%40"
    ) as server:
        address = f"tls://op:${{PASSWORD_OF_NATS}}@127.0.0.1:{server.port}"
        monkeypatch.setenv("PASSWORD_OF_NATS", "wrong-7")
        assert main(["fleet", "setup", address, "--ca", str(certificate)]) == 2
        barred = capsys.readouterr().err
        monkeypatch.setenv("PASSWORD_OF_NATS", "s3cret/@")
        assert main(["fleet", "setup", address]) == 2
        untrusted = capsys.readouterr().err
        assert main(["fleet", "setup", address, "--ca", str(tmp_path / "none.pem")]) == 2
        assert main(["fleet", "setup", address, "--ca", str(certificate)]) == 0
        said = capsys.readouterr()
    assert "uthorization" in barred and "certificate" in untrusted
    assert not any(word in barred + untrusted + said.out + said.err for word in ("s3cret", "wrong-7"))


def test_a_message_that_no_box_sends_is_too_large(tmp_path: Path) -> None:
    async def publish(client: Any) -> str:
        with pytest.raises(Exception, match="message size exceeds maximum allowed") as refused:
            await client.jetstream().publish("v1.north.b.c", bytes(140_000))
        return str(refused.value)

    with nats_in(tmp_path) as server:
        assert main(["fleet", "setup", server.url]) == 0
        assert with_client(server.url, publish)


def test_what_a_stream_loses_is_named() -> None:
    pytest.importorskip("nats", reason="a fleet needs nats-py: pip install 'vreid[fleet]'")
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

    from vreid.fleet.streams import harms_of

    sound = {"storage": StorageType.FILE, "retention": RetentionPolicy.LIMITS, "discard": DiscardPolicy.NEW}
    assert harms_of(StreamConfig(name="S", subjects=["v1.>"], max_age=9, **sound)) == []  # type: ignore[arg-type]
    (one,) = harms_of(StreamConfig(name="S", **{**sound, "retention": RetentionPolicy.INTEREST}))  # type: ignore[arg-type]
    assert one.startswith(
        "retention is interest, not limits: with another, what a centre has not read yet would be lost"
    )
