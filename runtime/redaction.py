"""What may be shown: addresses and messages without the passwords and other secrets in them."""

import re

from vreid.models.errors import Refused
from vreid.runtime.network_address import network_address

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
