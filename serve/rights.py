"""Who may do what: tokens with roles, kept as hashes in a file, and sessions of a browser.

A token is 32 random bytes, so that one SHA-256 of it is enough to keep (no password is stretched here). A session is a cookie
signed with a secret of the file; it names its token, so that it ends when that is revoked.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vreid.models.errors import Refused, shown, unusable
from vreid.models.files import atomic, regular
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import names

Role = Literal["look", "edit", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
LOCAL = "local"  # the session of whoever uses this machine while there is no token
SESSION_S = 7 * 86400.0
_PREFIX = "vreid_"
_Stamp = tuple[int, int, int]  # of a file, which differs when it has changed


def tokens_of(gallery: Path) -> Path:
    """Where the tokens of a gallery are kept: known.db.tokens for known.db."""
    return gallery.with_name(f"{gallery.name}.tokens")


@dataclass(frozen=True)
class Person:
    """Who sends a request. `cameras` are those that may be seen, empty: all; `session` is what a CSRF token belongs to; `made` is
    when the token was, in seconds since 1970."""

    name: str
    role: Role
    cameras: tuple[str, ...] = ()
    session: str = ""
    made: float = 0.0

    def may(self, role: Role) -> bool:
        """Whether this role is included in the person's."""
        return ROLES.index(role) <= ROLES.index(self.role)

    def sees(self, camera: str) -> bool:
        """Whether pictures of this camera are shown."""
        return not self.cameras or camera in self.cameras


class TokensUnusable(Refused):
    """The file of tokens is damaged, or may not be read: nobody can be let in."""


@dataclass(frozen=True)
class Token:
    """A token as it is kept: never itself."""

    name: str
    role: Role
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    made: Annotated[float, Field(allow_inf_nan=False)]  # seconds since 1970
    cameras: tuple[str, ...] = ()

    def person(self, session: str = "") -> Person:
        """Who has it."""
        return Person(self.name, self.role, self.cameras, session, self.made)


class TokenFile:
    """The tokens of a gallery, in a file that only its user may read. It is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path, self._secret = path, secrets.token_hex(32)  # the secret is used while there is no file
        self._had = False
        self._read: tuple[_Stamp, tuple[str, list[Token]]] | None = None

    def tokens(self) -> list[Token]:
        """All of them. Raises TokensUnusable."""
        return list(self._content()[1])

    def ever(self) -> bool:
        """Whether there are tokens, or were since this object was made. Raises TokensUnusable."""
        self._content()
        return self._had

    def add(self, name: str, role: Role, cameras: Iterable[str] = ()) -> str:
        """A new token, which is returned and kept nowhere.

        Raises Refused for a name that is taken or cannot be read, and for an admin of some cameras only: the audit, purging and
        calibrating are of all.
        """
        name, cameras = names.printable(name), tuple(nfc(camera) for camera in cameras)
        if role == "admin" and cameras:
            raise Refused("an admin sees all cameras; leave --camera out, or make a token with the role edit")
        text = _PREFIX + secrets.token_urlsafe(32)
        with self._locked():
            secret, tokens = self._content()
            if name.startswith("run:") or any(token.name == name for token in tokens):
                raise Refused(f"the name '{name}' is taken; revoke it first, or take another one")
            self._write(secret, [*tokens, Token(name, role, _hash(text), time.time(), cameras)])
        return text

    def revoke(self, name: str) -> None:
        """Let a token and its sessions be of no use any more. Raises Refused where there is none of this name."""
        with self._locked():
            secret, tokens = self._content()
            left = [token for token in tokens if token.name != name]
            if len(left) == len(tokens):
                raise Refused(f"there is no token '{shown(name)}'; vreid serve token --list shows them")
            self._write(secret, left)

    def person_of(self, text: str) -> Person | None:
        """Whose token this is."""
        wanted = _hash(text)
        found = [token for token in self.tokens() if hmac.compare_digest(token.hash, wanted)]
        return found[0].person() if found else None

    def session(self, person: Person) -> str:
        """A cookie for somebody who has shown a token."""
        body = json.dumps([person.name, time.time() + SESSION_S, secrets.token_hex(8)]).encode()
        return f"{_text(body)}.{self._sign(b'session', body)}"

    def person_of_session(self, cookie: str) -> Person | None:
        """Whose session a cookie is; None: nobody's, or it is over, or its token was revoked."""
        body, _, signature = cookie.partition(".")
        try:
            content = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            if not hmac.compare_digest(signature.encode(), self._sign(b"session", content).encode()):
                return None
            name, until, _ = json.loads(content)
        except ValueError:
            return None
        found = [token for token in self.tokens() if token.name == name]
        if not found or until < time.time() or self._made_later(found[0], until):
            return None
        return found[0].person(cookie)

    def still_holds(self, person: Person) -> bool:
        """Whether this person's token, and their session, are what they were when the person was found by them."""
        if person.session:
            return self.person_of_session(person.session) == person
        return any(token.person() == person for token in self.tokens())

    def csrf(self, person: Person) -> str:
        """What a form of this person's session has to hold."""
        return self._sign(b"csrf", person.session.encode())

    def _made_later(self, token: Token, until: float) -> bool:
        """Whether a token of this name was made anew since the session began."""
        return token.made > until - SESSION_S

    def _sign(self, purpose: bytes, body: bytes) -> str:
        return _text(hmac.digest(self._content()[0].encode(), purpose + b"\0" + body, "sha256"))

    def _content(self) -> tuple[str, list[Token]]:
        """The secret and the tokens; a secret that lasts as long as this process where there is no file."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return self._secret, []
        except OSError as error:
            raise _unusable(self.path, error.strerror) from error
        stamp = (
            state.st_mtime_ns,
            state.st_ino,
            state.st_size,
        )  # a new file each time: clocks of file systems are coarse
        read = self._read
        if read is None or read[0] != stamp:
            read = self._read = stamp, _parsed(self.path)
        self._had = self._had or bool(read[1][1])
        return read[1]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """No other process changes the file inside. Raises Refused where its folder cannot be written."""
        try:
            handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise unusable(error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise unusable(error) from error
        finally:
            os.close(handle)

    def _write(self, secret: str, tokens: list[Token]) -> None:
        document = {"secret": secret, "tokens": [asdict(token) for token in tokens]}
        with atomic(self.path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        self._read = None


class _Tokens(BaseModel):
    """The file's document."""

    model_config = ConfigDict(extra="forbid", strict=True)

    secret: str = Field(min_length=1)
    tokens: list[Token]


def _parsed(path: Path) -> tuple[str, list[Token]]:
    try:
        found = _Tokens.model_validate_json(regular(path).read_bytes())
    except ValidationError as error:
        raise _unusable(path, error.errors()[0]["msg"]) from error
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    return found.secret, found.tokens


def _unusable(path: Path, reason: str | None) -> TokensUnusable:
    """Without the folder: anybody may get this sentence from a server."""
    fix = "restore a copy, or remove it and make the tokens anew with vreid serve token"
    return TokensUnusable(f"the file of tokens {path.name} cannot be used ({reason}); {fix}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
