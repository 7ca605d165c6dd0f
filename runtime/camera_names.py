"""What cameras may be called: letters of any language, but nothing that a file's name or an MQTT topic cannot hold."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from vreid.models.errors import Refused, shown

_MOST_BYTES = 200  # a file's name has 255, and the names that the run makes of it are longer
_BARRED = re.compile(r"""[/\\:=+#*?"<>|$]""")


def camera_name(text: str) -> str:
    """`text` in NFC without blanks at its ends. Raises Refused for what cannot be the name of a file and of a topic."""
    name = nfc(text.strip())
    if not valid_text(name):
        raise Refused("a camera's name has control characters or is not valid UTF-8; write letters, digits and blanks")
    if not name.strip(".") or len(name.encode()) > _MOST_BYTES:
        raise Refused(
            f"a camera's name must have 1 to {_MOST_BYTES} bytes and not only dots; write gate=ADDRESS, for example"
        )
    if _BARRED.search(name):
        raise Refused(
            """a camera's name cannot hold any of / \\ : = + # * ? " < > | $; write letters, digits, blanks, '_', '.', '-'"""
        )
    return name


def plain_name(text: str) -> str:
    """`text` as a name: in NFC, letters and digits of any language, "_", "-" and "." kept, the rest "_". May be empty."""
    kept = (sign if _is_plain(sign) else " " for sign in nfc(text))
    name = re.sub(r" +", "_", "".join(kept)).strip("_.")
    return name.encode()[:_MOST_BYTES].decode("utf-8", "ignore")


def stranger_text(name: str, cameras: Sequence[str], where: str) -> str:
    """That `where` names a camera which is none of these, and which was meant."""
    close = difflib.get_close_matches(name, cameras, 1, 0.6)
    near = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(cameras)}"
    return f"{where} names a camera '{shown(name)}' that the site does not have; {near}"


def nfc(text: str) -> str:
    """`text` in Unicode's NFC, in which names of cameras and views are written and compared."""
    return unicodedata.normalize("NFC", text)


def file_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that is a file in `folder`, in whatever form of Unicode its name is written there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
        if name.isascii():
            continue
        where = folder / Path(name).parent
        for path in sorted(where.iterdir()) if where.is_dir() else ():
            if nfc(path.name) == nfc(Path(name).name) and path.is_file():
                return path
    return None


def valid_text(text: str) -> bool:
    """Whether `text` has neither control characters, nor ends of lines, nor halves of a surrogate pair (invalid UTF-8)."""
    return not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def _is_plain(sign: str) -> bool:
    return sign in "_.-" or sign.isalnum() or unicodedata.category(sign).startswith("M")
