"""`${NAME}` and `${file:PATH}` in an address: secrets from the environment or a file, so that no process list shows them."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from vreid.models.errors import Refused
from vreid.runtime.camera_names import valid_text

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
