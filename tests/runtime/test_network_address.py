"""No password is shown or becomes a name, however an address is written; secrets come from the environment or a file."""

import logging
import subprocess
import sys

import pytest

from vreid.cli import output
from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.network_address import network_address, redacted, shown_address, substituted
from vreid.runtime.sinks.table import OUTPUTS, output_address_of
from vreid.runtime.sources.table import address_of, addresses_of

WORD = "secretword"
CAMERAS = [
    f"rtsp://me:{WORD}@192.0.2.7/x",
    f"RTSPS://me:{WORD}@192.0.2.7/x",
    f"rtsp:/me:{WORD}@192.0.2.7/x",
    f"rtsp:me:{WORD}@192.0.2.7/x",
    f"rtsp//me:{WORD}@192.0.2.7/x",
    f"rtsp ://me:{WORD}@192.0.2.7/x",
    f"rtsp:\\\\me:{WORD}@192.0.2.7/x",
    f"me:{WORD}@192.0.2.7:554/x",
    f"http://me:{WORD}@192.0.2.7/video.mjpg",
    f"https://192.0.2.7/video.mjpg?user=me&pwd={WORD}",
    f"rtmp://192.0.2.7/live/x?token={WORD}",
    f"udp://me:{WORD}@192.0.2.7:1234",
    f"smb://me:{WORD}@192.0.2.7/x",
    f"rtsp://me:1@{WORD}/2#3?4:5@192.0.2.7:554/x",
    f"rtsp://me:{WORD}/1@gate-1:554/x",
    f"rtsp://me:a {WORD} b@gate-1/x",
    f"rtsp://{WORD}@gate-1/x",
    f"rtsp://me%40site:{WORD}@gate-1/x",
    f"rtsp://gate-1/user=me_password={WORD}_channel=1_stream=0.sdp?real_stream",
    f"rtsp://gate-1/user=me&passwd={WORD}&channel=2&stream=0.sdp",
    f"rtsp://gate-1/cam?user=me&password=ab@{WORD}&channel=1",
    f"rtsp://gate-1/cam?user=me&password=ab@{WORD}",
    f"rtsp://gate-1/password=ab@{WORD}_channel=1.sdp",
    f"rtsp://gate-1/live?signature={WORD}",
    f"rtsp://gate-1/x?auth={WORD}",
    f"rtsp://gate-1/{WORD}?enableSrtp",
    f"rtsp://gate-1/me/{WORD}/ch1",
    f"rtsp://gate-1:{WORD}/x",
    f"gst: rtspsrc location=rtsp://me:{WORD}@192.0.2.7 ! decodebin",
    f"gst:rtspsrc location=rtsp://192.0.2.7/x user-id=me user-pw={WORD} ! decodebin",
    f"gst:rtspsrc user-pw='a {WORD}' location=rtsp://192.0.2.7/x ! decodebin",
]
NAMES = ["", "gate=", "Hof-Süd=", "back yard=", "ворота=", "a/b=", "a:b=", "=", "a=b=", "門 = "]
ADDRESSES = [
    f"mqtt://me:{WORD}@192.0.2.7/site",
    f"MQTT://me:{WORD}@192.0.2.7/site#x",
    f"mqtt:/me:{WORD}@192.0.2.7/site",
    f"mqtts://me:a/{WORD}#b@192.0.2.7/site",
    f"mqtt://192.0.2.7/site?password={WORD}",
    f"mqtt://192.0.2.7/site?{WORD}",
    f"mqtt://192.0.2.7:{WORD}/site",
    f"https://192.0.2.7/hooks/{WORD}?token={WORD}",
    f"https://192.0.2.7/hooks/x?token={WORD}#{WORD}",
    f"https://me:{WORD}@[192.0.2.7/hooks",
    f"https://me:{WORD}@192.0.2.\u2100/hooks",
    f"me:{WORD}@192.0.2.7/hooks",
    f"{WORD}://192.0.2.7",
]


def chain(error):
    """Everything that a traceback of `error` would say."""
    while error is not None:
        yield f"{error} {error!r} {getattr(error, 'args', '')}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("uri", CAMERAS)
def test_no_camera_shows_its_password(name, uri):
    try:
        address = address_of(name + uri)
    except Refused as error:
        assert WORD not in "".join(chain(error))
        return
    assert WORD not in address.camera + repr(address) + shown_address(address.where)
    assert "ab@" not in shown_address(address.where)


@pytest.mark.parametrize("uri", ADDRESSES)
def test_no_output_shows_its_password(uri):
    try:
        address = output_address_of(uri, OUTPUTS)
        address.refuse_other_than("qos")
    except Refused as error:
        assert WORD not in "".join(chain(error))
        return
    assert WORD not in address.name + repr(address)


@pytest.mark.parametrize(
    "uri",
    [uri for uri in CAMERAS + ADDRESSES if "@" in uri or "password=" in uri or "token=" in uri or "user-pw" in uri],
)
def test_what_is_printed_is_searched_once_more(uri, capsys):
    output.error(f"there is no 'x' at {uri}; see rtsp://host/path")
    said = capsys.readouterr().err
    assert WORD not in said.replace(f"/hooks/{WORD}", "")  # without a name no word of a path is known for a secret


@pytest.mark.parametrize(
    "text",
    [
        "write rtsp://host:port/path or mqtt://host:1883/topic",
        "cannot use /data/key=3/user=4/a.jpg (No such file); check the path",
        "the taxi: seen at 12:30 in gate",
        "there is no vehicle 'Müller@depot' in the gallery",
        "see https://example.org/page?channel=3",
    ],
)
def test_an_ordinary_message_is_left_as_it_is(text):
    assert redacted(text) == text


def test_hiding_twice_changes_nothing_more():
    for uri in CAMERAS:
        assert redacted(redacted(uri)) == redacted(uri)


def test_the_host_is_shown_and_the_address_that_is_opened_holds_the_password():
    for uri, written, seen in [
        ("rtsp://me:p@ss@192.0.2.7:8554/a", "rtsp://me:p%40ss@192.0.2.7:8554/a", "rtsp://192.0.2.7:8554/***"),
        ("rtsp://me:p/s#w?@gate-1/a?b", "rtsp://me:p%2Fs%23w%3F@gate-1/a?b", "rtsp://gate-1/***"),
        ("rtsp://me:p%2Fs@[fe80::1]:88", "rtsp://me:p%2Fs@[fe80::1]:88", "rtsp://[fe80::1]:88"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
        ("udp://:1234", "udp://:1234", "udp://:1234"),
        ("rtsp://192.0.2.7/c?mail=a@b", "rtsp://192.0.2.7/c?mail=a@b", "rtsp://192.0.2.7/***"),
        ("rtsp://gate-1/c?password=a@b", "rtsp://gate-1/c?password=a@b", "rtsp://***"),
    ]:
        address = network_address(uri)
        assert (address.uri, address.shown, shown_address(uri)) == (written, seen, seen)


def test_a_word_that_the_command_line_does_not_take_is_printed_without_its_password(tmp_path, capsys):
    uri = f"rtsp://me:{WORD}@192.0.2.7/x"
    for words in (
        ["--source", uri],
        ["--threads", uri],
        ["--out", "o", "--threads", uri],
        ["--out", "o", "--embed", uri],
        ["--out", "o", "--to"],
    ):
        with pytest.raises(SystemExit) as end:
            main(["run", uri, *words])
        said = capsys.readouterr()
        assert end.value.code == 2 and said.err and WORD not in said.err + said.out
    assert main([uri]) == 2
    assert main(["run", uri, "--out", str(tmp_path / "o"), "--model", uri]) == 2
    assert WORD not in capsys.readouterr().err


def test_neither_a_log_line_nor_a_traceback_shows_a_password():
    code = (
        "import logging\nfrom vreid.cli import output\noutput.guard()\n"
        f"logging.getLogger('vreid').warning('%s is away', 'rtsp://me:{WORD}@h/x')\n"
        f"try:\n    int('rtsp://me:{WORD}@h')\nexcept ValueError as error:\n"
        f"    raise RuntimeError('http://h/?token={WORD}') from error\n"
    )
    ended = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert "rtsp://***@h/x is away" in ended.stderr and "RuntimeError: http://h/?token=***" in ended.stderr
    assert WORD not in ended.stderr
    assert logging.getLogger().level <= logging.WARNING


def test_a_log_line_is_one_line_whatever_another_program_said():
    said = "gone\n\x1b[31mvreid: all is well"
    code = f"import logging\nfrom vreid.cli import output\noutput.guard()\nlogging.getLogger('vreid').warning('%s', {said!r})\n"
    ended = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert ended.stderr == "vreid: gone??[31mvreid: all is well\n"


def test_of_a_line_without_end_the_beginning_is_searched():
    long = f"a.a:/{'x' * 50} " * 200_000
    said = redacted(f"read {long}\nrtsp://me:{WORD}@h/x")
    assert said.startswith("read a.a:/x") and said.endswith("...\nrtsp://***@h/x") and len(said) < 5000
    assert redacted("x" * 3_000_000) == "..."  # nobody knows of what it is the half


# --- ${NAME} and ${file:PATH} ---


def test_a_secret_comes_from_the_environment_and_is_encoded_for_its_place(tmp_path):
    env = {"U": "a:b", "P": "p@s/s#w?%ä $x", "HOST": "192.0.2.7:554", "URL": "rtsp://a:b@h/x?c=1", "PATH_": "ch 1/x?"}
    quoted = "p%40s%2Fs%23w%3F%25%C3%A4%20%24x"
    pipeline = f'gst:rtspsrc location=rtsp://me:{quoted}@h user-pw="{env["P"]}"'
    for text, written in {
        "gate=rtsp://${U}:${P}@${HOST}/live": f"gate=rtsp://a%3Ab:{quoted}@192.0.2.7:554/live",
        "rtsp://me:${P}@h": f"rtsp://me:{quoted}@h",
        "gate=${URL}": "gate=rtsp://a:b@h/x?c=1",
        "rtsp://h/${PATH_}": "rtsp://h/ch%201/x%3F",
        "rtsp://h/x?password=${P}&channel=1": f"rtsp://h/x?password={quoted}&channel=1",
        "mqtts://me:${P}@broker/site?ca=x": f"mqtts://me:{quoted}@broker/site?ca=x",
        "https://h/hook?token=${U}#room=5": "https://h/hook?token=a%3Ab#room=5",
        "gst:rtspsrc location=rtsp://me:${P}@h user-pw=${P} ! x": f"{pipeline} ! x",
        "$${P} $U ${U}": "${P} $U a:b",
        "cam1.mp4": "cam1.mp4",
    }.items():
        assert substituted(text, env) == written
    (tmp_path / "word").write_bytes("p@s/s#w?%ä $x\r\n".encode())
    assert substituted(f"rtsp://me:${{file:{tmp_path}/word}}@h/x", {}) == f"rtsp://me:{quoted}@h/x"
    assert network_address(substituted("rtsp://${U}:${P}@h/x", env)).host == "h"
    assert addresses_of([substituted("rtsp://${U}:${P}@h/x", env)])[0].camera == "h"


def test_a_secret_that_is_missing_or_no_line_of_text_is_refused_by_its_name(tmp_path):
    (tmp_path / "lines").write_text(f"{WORD}\n{WORD}\n")
    (tmp_path / "bytes").write_bytes(WORD.encode() + b"\xe9")
    env = {"TAB": f"{WORD}\t", "BYTES": f"{WORD}\udce9", "LONG": "x" * 70_000}
    for text, said in {
        "rtsp://${GATE_USER}@h": "GATE_USER is not set",
        "rtsp://${file:/nowhere/at all}@h": "/nowhere/at all cannot be read",
        f"rtsp://${{file:{tmp_path}}}@h": "cannot be read",
        f"rtsp://${{file:{tmp_path}/lines}}@h": "one line of text",
        f"rtsp://${{file:{tmp_path}/bytes}}@h": "one line of text",
        "rtsp://${TAB}@h": "TAB",
        "rtsp://${BYTES}@h": "BYTES",
        "rtsp://${LONG}@h": "LONG",
        f"rtsp://${{a b {WORD}}}@h": "not a variable's name",
        f"rtsp://me:${{{WORD}": "without '}'",
    }.items():
        with pytest.raises(Refused) as refused:
            substituted(text, env)
        assert said in str(refused.value) and WORD not in "".join(chain(refused.value))


def test_a_run_takes_its_secrets_from_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GATE_PASSWORD", WORD + "@/")
    out = str(tmp_path / "o")
    assert main(["run", "rtsp://me:${GATE_PASSWORD}@127.0.0.1:1/x", "--out", out]) == 2
    said = capsys.readouterr().err
    assert "rtsp://127.0.0.1:1/*** gives no picture" in said and WORD not in said
    assert main(["run", "rtsp://me:${NO_SUCH}@127.0.0.1:1/x", "--out", out]) == 2
    assert "the environment variable NO_SUCH is not set" in capsys.readouterr().err
    assert main(["run", "cam1.mp4", "--out", out, "--to", "mqtt://me:${NO_SUCH}@h/x"]) == 2
    assert "the environment variable NO_SUCH is not set" in capsys.readouterr().err
