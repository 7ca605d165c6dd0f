"""`vreid fleet record` and `replay` over real NATS servers: the same bytes, once; a torn file is gone on with."""

import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from made_box import box_in, settings, written
from made_outputs import until
from real_nats import NatsServer, make_streams, nats_in, stored_in, with_client

from vreid.cli.main import main
from vreid.fleet import log_file
from vreid.fleet.link import joined
from vreid.fleet.log_file import LoggedMessage, LogHead, LogWriter, read_log
from vreid.fleet.messages import number_of, read_message
from vreid.fleet.record import Span, record
from vreid.fleet.sender import Sender
from vreid.models.errors import Refused

ODD = b"\x00\xff\r\n not UTF-8"


def send(server: NatsServer, folder: Path, count: int, box: str = "box 1") -> None:
    """Write so many sightings of a box and send them."""
    with box_in(folder / f"{box}.db") as gallery:
        for track in range(count):
            written(gallery, camera=("gate", "門 1")[track % 2], track=track)
        Sender(settings(server, box), gallery).send_all()


def publish(server: NatsServer, *messages: tuple[str, bytes, dict[str, str] | None]) -> None:
    async def each(client: Any) -> None:
        for subject, body, headers in messages:
            await client.jetstream().publish(subject, body, headers=headers)

    with_client(server.url, each)


def raw(server: NatsServer) -> list[tuple[str, bytes, bytes]]:
    """(subject, headers as they are on the disk, body) of all that the stream holds."""
    from base64 import b64decode

    async def read(client: Any) -> list[tuple[str, bytes, bytes]]:
        stream, found = client.jetstream(), []
        state = (await stream.stream_info("SIGHTINGS")).state
        for seq in range(state.first_seq, state.last_seq + 1):
            request = json.dumps({"seq": seq}).encode()
            answer = json.loads((await client.request("$JS.API.STREAM.MSG.GET.SIGHTINGS", request)).data)["message"]
            found.append((answer["subject"], b64decode(answer.get("hdrs", "")), b64decode(answer.get("data", ""))))
        return found

    return with_client(server.url, read)


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_what_is_played_is_to_the_byte_what_was_recorded(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / name
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with nats_in(tmp_path / "a") as first, nats_in(tmp_path / "b") as second:
        for server in (first, second):
            make_streams(server.url)
        send(first, tmp_path, 30)
        publish(first, ("v1.north.b.x", ODD, None), ("v1.north.b.x", b"", {"Nats-Msg-Id": "門:1", "Other": "a b"}))
        publish(first, ("v1.identity.box", b"{}", None))
        assert main(["fleet", "record", "--server", first.url, "--out", str(log)]) == 0
        assert "33 messages were written" in capsys.readouterr().out
        for place, (stored, left_out) in enumerate(
            [("32 messages were stored, 0", 1), ("1 messages were stored, 31", 1)]
        ):
            assert main(["fleet", "replay", str(log), "--server", second.url, "--speed", "0"]) == 0
            said = capsys.readouterr().out  # the one without a number cannot be known again
            assert stored in said and f"{left_out} of a centre were left out" in said, place
        assert raw(second)[:32] == raw(first)[:32]
        assert (
            main(["fleet", "replay", str(log), "--server", second.url, "--speed", "0", "--identities", "--json"]) == 0
        )
        assert json.loads(capsys.readouterr().out)["stored"] == 2


def test_a_torn_file_is_gone_on_with_where_it_was_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        send(server, tmp_path, 20)
        for name in ("a.jsonl", "a.jsonl.gz"):
            log = tmp_path / name
            words = ["fleet", "record", "--server", server.url, "--out", str(log)]
            for end in ("7", "15"):
                assert main([*words, "--end", end]) == 0
            whole = log.read_bytes()
            for cut in (1, 40):
                log.write_bytes(whole[:-cut])
                assert main([*words, "--end", "15"]) == 0
                assert [each.seq for each in read_log(log)] == list(range(1, 16)) and log.read_bytes() == whole
            assert main(words) == main(words) == 0
            assert [each.seq for each in read_log(log)] == list(range(1, 21))
        capsys.readouterr()
        assert main([*words[:-1], str(tmp_path / "b.jsonl"), "--start", "18"]) == 0
        assert [each.seq for each in read_log(tmp_path / "b.jsonl")] == [18, 19, 20]
        assert main([*words[:-1], str(tmp_path / "c.jsonl"), "--start", "soon"]) == 2
        assert "--start is a message's number or a moment" in capsys.readouterr().err


def test_moments_choose_and_a_file_of_another_stream_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.jsonl"
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        send(server, tmp_path, 4)
        time.sleep(0.05)
        middle = time.time()
        time.sleep(0.05)
        send(server, tmp_path, 3, "box 2")
        words = ["fleet", "record", "--server", server.url, "--out"]
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(middle))}.{int(middle % 1 * 1e6):06d}Z"
        assert main([*words, str(log), "--start", moment]) == 0
        assert main([*words, str(tmp_path / "b.jsonl"), "--end", moment]) == 0
        assert [each.seq for each in read_log(log)] == [5, 6, 7]
        assert [each.seq for each in read_log(tmp_path / "b.jsonl")] == [1, 2, 3, 4]

        async def remake(client: Any) -> None:
            await client.jetstream().delete_stream("SIGHTINGS")
            await client.jetstream().add_stream(name="SIGHTINGS", subjects=["v1.*.*.*"])

        with_client(server.url, remake)
        capsys.readouterr()
        assert main([*words, str(log)]) == 2
        assert "is of the stream SIGHTINGS made at" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named_and_not_the_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        missing = tmp_path / "none" / "log.jsonl"
        assert main(["fleet", "record", "--server", server.url, "--out", str(missing)]) == 2
        said = capsys.readouterr().err
    assert f"cannot write {missing}" in said and str(server.port) not in said


@pytest.mark.parametrize("first", [1, 8])  # which are both to come yet
def test_what_comes_is_followed_until_it_is_stopped(tmp_path: Path, first: int) -> None:
    log, stop = tmp_path / "a.jsonl", threading.Event()
    with nats_in(tmp_path) as server:
        make_streams(server.url)

        async def follow() -> int:
            async with joined(server.url, "test") as client:
                return await record(client, log, Span(first), True, stop.is_set)

        import asyncio

        counts: list[int] = []
        thread = threading.Thread(target=lambda: counts.append(asyncio.run(follow())))
        thread.start()
        try:
            for box in ("a", "b"):
                send(server, tmp_path, 5, box)
            wanted = list(range(first, 11))
            assert until(lambda: log.exists() and [each.seq for each in read_log(log)] == wanted)
        finally:
            stop.set()
            thread.join(30)
    assert counts == [len(wanted)]


def test_boxes_are_renamed_for_a_test_of_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "a.jsonl.gz"
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        send(server, tmp_path, 6)
        assert main(["fleet", "record", "--server", server.url, "--out", str(log)]) == 0
        words = ["fleet", "replay", str(log), "--server", server.url, "--speed", "1000", "--box-suffix", " copy"]
        assert main([*words, "--region", "load 2"]) == 0
        assert "6 messages were stored, 0 were there" in capsys.readouterr().out
        stored = stored_in(server.url)
        before, after = (read_message(stored[place].body) for place in (0, 6))
        assert after == before.model_copy(update={"box": "box 1 copy"}) and stored[6].number == number_of(after)
        assert stored[6].subject == stored[0].subject.replace("north", "load%202").replace("box%201", "box%201%20copy")


def test_a_message_goes_when_its_time_has_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "a.jsonl"
    with LogWriter(log, LogHead("SIGHTINGS", "2026")) as file:
        file.write([LoggedMessage(seq, 1000.0 + 10 * seq, "v1.north.b.x", b"x") for seq in range(4)])
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        began = time.monotonic()
        assert main(["fleet", "replay", str(log), "--server", server.url, "--speed", "20"]) == 0
        assert time.monotonic() - began >= 1.5  # 30 s of the log
        capsys.readouterr()
        assert main(["fleet", "replay", str(log), "--server", server.url, "--start", "3", "--speed", "-1"]) == 2
        assert main(["fleet", "replay", str(log), "--server", server.url, "--start", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["stored"] == 1


def test_a_server_that_is_lost_amid_playing_is_said_with_where_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.jsonl"
    with LogWriter(log, LogHead("SIGHTINGS", "2026")) as file:
        file.write(
            [LoggedMessage(seq, 1000.0 + seq, "v1.north.b.x", b"x", {"Nats-Msg-Id": f"a:{seq}"}) for seq in range(1, 9)]
        )
    with nats_in(tmp_path) as server:
        assert main(["fleet", "replay", str(log), "--server", server.url]) == 2
        assert "no stream for these messages" in capsys.readouterr().err
        make_streams(server.url)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(_replayed(log, server.url)))
        thread.start()
        assert until(lambda: len(stored_in(server.url)) >= 2 if thread.is_alive() else True)
        server.stop()
        thread.join(60)
        said = _reasons.pop()
        assert codes == [2] and "go on with --start" in said
        server.start()
        start = said.rpartition("--start ")[2].split()[0]
        assert main(["fleet", "replay", str(log), "--server", server.url, "--start", start, "--speed", "0"]) == 0
        assert [each.number for each in stored_in(server.url)] == [f"a:{seq}" for seq in range(1, 9)]


_reasons: list[str] = []


def _replayed(log: Path, url: str) -> int:
    """As the verb does it, off the main thread, in which alone Python takes signals."""
    import asyncio

    from vreid.fleet.link import CentreAway
    from vreid.fleet.replay import replay

    async def play() -> None:
        async with joined(url, "test") as client:
            await replay(client, read_log(log), 4)

    try:
        asyncio.run(play())
    except CentreAway as away:
        _reasons.append(str(away))
        return 2
    return 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"text\n",
        b'{"stream": "S", "created": "", "log": "log of a fleet", "version": 9}\n',
        b"\x1f\x8b\x08torn",
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_another_file_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=r"is not a log of a fleet|in version 9"):
        list(read_log(tmp_path / name))
    if content:
        with pytest.raises(Refused, match=r"is not a log of a fleet|in version 9"):
            LogWriter(tmp_path / name, LogHead("S", ""))
        assert (tmp_path / name).read_bytes() == content


def test_a_line_that_is_damaged_is_named(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl.gz"
    head = b'{"stream": "S", "created": "", "log": "log of a fleet", "version": 1}\n'
    log.write_bytes(gzip.compress(head + b'{"seq": 1}\n'))
    with pytest.raises(Refused, match=r"line 2 of .* is not a message of a log"):
        list(read_log(log))


HEAD = b'{"stream": "S", "created": "", "log": "log of a fleet", "version": 1}\n'
LINE: dict[str, object] = {"seq": 1, "time": 1.7e9, "subject": "v1.north.b.c", "headers": {}, "body": "x"}


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"[]",
        b"",
        *(
            json.dumps({**LINE, **change}).encode()
            for change in (
                {"headers": []},
                {"headers": {"a": None}},
                {"body": 5},
                {"body": None},
                {"base64": "AAAA"},
                {"seq": float("inf")},
                {"seq": -1},
                {"time": float("inf")},
                {"time": float("nan")},
                {"subject": None},
            )
        ),
    ],
)
def test_a_line_that_was_edited_is_refused_whoever_reads_it(tmp_path: Path, line: bytes) -> None:
    log = tmp_path / "a.jsonl"
    log.write_bytes(HEAD + json.dumps(LINE).encode() + b"\n" + line + b"\n")
    with pytest.raises(Refused, match=r"line 3 of .* is not a message of a log") as refused:
        list(read_log(log))
    assert len(str(refused.value)) < 400
    with pytest.raises(Refused, match=r"the last line of .* is not a message of a log"):
        LogWriter(log, LogHead("S", ""))
    assert log.read_bytes().endswith(line + b"\n")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_MOST", 1 << 22)
    content = HEAD + b"x" * (1 << 24)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(Refused, match="has a line of more than 4 MB"):
        list(read_log(tmp_path / name))
    with pytest.raises(Refused, match="it is a pipe, a socket or a device"):
        list(read_log(Path("/dev/zero")))


def test_a_file_that_cannot_be_written_is_said_and_not_the_server(
    tmp_path: Path, server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, reason in ((tmp_path, "Is a directory"), (tmp_path / "no" / "a", "No such file"), ("/dev/full", "device")):
        assert main(["fleet", "record", "--server", server.url, "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert str(out) in said and reason in said and "nats" not in said


def test_headers_that_are_commands_to_nats_are_not_played(
    tmp_path: Path, server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.jsonl"
    headers = {"Nats-Rollup": "all", "nats-expected-last-sequence": "9", "Nats-Msg-Id": "b:1", "Other": "stays"}
    with LogWriter(log, LogHead("S", "")) as file:
        file.write([LoggedMessage(1, 1.7e9, "v1.north.b.c", b"1", {"Nats-Msg-Id": "b:0"})])
        file.write([LoggedMessage(2, 1.7e9, "v1.north.b.c", b"2", headers)])
    assert main(["fleet", "replay", str(log), "--server", server.url, "--speed", "0"]) == 0
    (_, one), (stored, other) = [each[1:] for each in raw(server)]
    assert (one, other) == (b"1", b"2") and b"Other: stays" in stored and b"Rollup" not in stored


@pytest.mark.parametrize(
    "words", [["--region", "identity"], ["--region", ""], ["--box-suffix", "\n"], ["--box-suffix", "x" * 33]]
)
def test_names_that_nobody_has_are_not_played(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.jsonl"
    with LogWriter(log, LogHead("S", "")) as file:
        file.write([LoggedMessage(1, 1.7e9, "v1.north.b.c", b"1")])
    assert main(["fleet", "replay", str(log), "--server", "nats://127.0.0.1:1", *words]) == 2
    assert "cannot be called" in (said := capsys.readouterr().err) or "at most 32 characters" in said
