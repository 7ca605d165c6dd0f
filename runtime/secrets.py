"""Secrets in addresses: filled in from the environment or a file, and never shown in messages, logs or names."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from vreid.models.errors import Refused
from vreid.runtime.camera_names import valid_text
from vreid.runtime.network_address import network_address

_MOST = 65536  # characters of a value
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPEN = re.compile(r"\$\$\{|\$\{")


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """`text` with every ${NAME} of `environment` and the content of every ${file:PATH}; $${ stands for a plain ${.

    Within a URI a value is percent-encoded for its place: wholly in the user's part and behind "=", else where it must
    be. In a GStreamer pipeline, outside of a URI, it becomes a quoted string. A text that begins with it takes it as it is.

    Raises Refused where a variable or file is missing, or a value is longer than 64 KiB or has control characters.
    """
    parts: list[str] = []
    place = 0
    while (found := _OPEN.search(text, place)) is not None:
        parts.append(text[place : found.start()])
        if found[0] == "$${":
            parts.append("${")
            place = found.end()
            continue
        end = text.find("}", found.end())
        if end < 0:
            raise Refused("an address has '${' without '}'; write ${NAME} or ${file:PATH}, and $${ for a plain '${'")
        value = _value(text[found.end() : end], environment)
        parts.append(_encoded(value, "".join(parts), text[end + 1 :]))
        place = end + 1
    return "".join(parts) + text[place:]


def _value(wanted: str, environment: Mapping[str, str]) -> str:
    if wanted.startswith("file:"):
        value, where = _content(wanted.removeprefix("file:")), f"the file {wanted.removeprefix('file:')}"
    elif _NAME.fullmatch(wanted) is None:
        raise Refused(
            "an address has '${...}' that is not a variable's name; write ${NAME}, ${file:PATH}, or $${ for '${'"
        )
    elif wanted not in environment:
        raise Refused(
            f"the environment variable {wanted} is not set; set it, or write the address without ${{{wanted}}}"
        )
    else:
        value, where = environment[wanted], f"the environment variable {wanted}"
    if len(value) > _MOST or not valid_text(value):
        raise Refused(f"{where} is too long, or holds control characters or invalid UTF-8; put one line of text there")
    return value


def _content(path: str) -> str:
    """The file's text without the end of its last line."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(4 * _MOST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise Refused(f"the secret file {path} cannot be read ({reason}); check ${{file:...}} in the address") from None
    text = content.decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def _encoded(value: str, before: str, after: str) -> str:
    """`value` as it must be written between `before` and `after`."""
    uri = re.search(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<rest>[^\s\"']*)$", before)
    if uri is None:
        pipeline = re.search(r"(^|=)gst:", before) is not None
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"' if pipeline and before.endswith("=") else value
    rest = uri["rest"]
    if not re.search(r"[/?#]", rest):
        in_user = re.match(r"[^\s/?#\"']*@", re.sub(r"\$\{[^}]*\}", "", after)) is not None
        return quote(value, safe="") if in_user else value
    return quote(value, safe="" if "?" in rest and rest.endswith("=") else "/%:@!$&'()*+,;=~[]")


_HIDDEN = "***"
_USER_PART = re.compile(r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]*:[/\\]+)[^\n]*@")  # rtsp://user:password@, rtsp:/...@
_BARE_USER_PART = re.compile(
    r"""(?<![^\s'"=(\[,;/])[^\s:@/'"=(]+:(?![\s/\\])[^\n]*@"""
)  # user:password@ without a scheme
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]*:[/\\]+\S*")
_VALUE = r"""(\s*=\s*)(?!\*\*\*)("[^"\n]*"?|'[^'\n]*'?|\\?[^\s"'&]+?(?=_[A-Za-z]+=|[\s"'&;,)]|$))"""
_NEVER = r"pass(?:word|wd|phrase|code)?|pwd|psw|user-?pw|user-?id|secret|token|signature|credentials?|api-?_?key"
_IN_ADDRESS = rf"{_NEVER}|pw|key|auth|authorization|sig|user|username|usr|login|account"
_SECRET = re.compile(rf"(?i)([\w.-]*(?:{_NEVER})){_VALUE}")
_ADDRESS_SECRET = re.compile(rf"(?i)((?:[A-Za-z0-9.-]+_)?(?:{_IN_ADDRESS})|[A-Za-z0-9.-]*(?:{_NEVER})){_VALUE}")


def shown(address: str) -> str:
    """One address as it may be shown: of the network scheme://host:port alone; of a GStreamer pipeline, the elements."""
    if "://" in address and not re.search(r"\s", address.split("://")[0]):
        try:
            return network_address(address).shown
        except Refused:
            return address.partition("://")[0] + f"://{_HIDDEN}"
    if "!" in address or "=" in address:
        return " ! ".join(_element(part) for part in address.split("!"))
    return redacted(address)


def redacted(text: str) -> str:
    """Any text without what looks like a user and password of an address, or the value of `password=`, `token=` and such.

    The last guard of all that is printed and logged; whoever knows that a text is an address shows `shown` of it.
    """
    text = _SECRET.sub(rf"\1\2{_HIDDEN}", text)
    text = _ADDRESS.sub(lambda match: _ADDRESS_SECRET.sub(rf"\1\2{_HIDDEN}", match[0]), text)
    text = _USER_PART.sub(rf"\1{_HIDDEN}@", text)
    return _BARE_USER_PART.sub(f"{_HIDDEN}@", text)


def _element(part: str) -> str:
    """A part of a pipeline -> the name of its element; what follows may hold an address or a password."""
    name = re.match(r"\s*([A-Za-z][A-Za-z0-9_-]*)(?![A-Za-z0-9_-]*[=/.:])", part)
    return name[1] if name else _HIDDEN
