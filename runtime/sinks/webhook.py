"""http:// and https://: one POST of one JSON object a sighting."""

import base64
import http.client
from collections.abc import Sequence
from urllib.parse import quote

from vreid.runtime.sinks.outbox import Away, Message, NotTaken
from vreid.runtime.sinks.table import OutputAddress, tls_context

_TIMEOUT_S = 10.0
_READ = 65536  # bytes of an answer, which is not looked at
_LATER = (408, 429, 502, 503, 504)  # the peer, or what stands before it, is not there for anybody
_WRITTEN = "/%?:@!$&'()*+,;=~"


class WebhookCarrier:
    """Keeps its connection as long as the peer does. Follows no redirect and no proxy: a secret goes where it was sent."""

    window = 1

    def __init__(self, connection: http.client.HTTPConnection, target: str, headers: dict[str, str]) -> None:
        self._connection, self._target, self._headers = connection, target, headers

    def connect(self) -> bool:
        """See Carrier: a connection is made with the first message."""
        return False

    def send(self, messages: Sequence[Message]) -> int:
        """See Carrier. 2xx is taken; 408, 429, 502, 503, 504 and no answer are Away; other 5xx are tried some times."""
        reused = self._connection.sock is not None
        try:
            status, after = self._post(messages[0].body)
        except NotTaken:
            if not reused:
                raise
            status, after = self._post(messages[0].body)  # the peer had only ended an idle connection
        if status in _LATER:
            raise Away(f"the peer answers {status}", float(after) if after.isdecimal() and len(after) < 6 else 0.0)
        if status >= 300:
            reason = f"the peer answers {status}" + (", a redirect, which is not followed" if status < 400 else "")
            raise NotTaken(reason, final=status < 500)
        return 1

    def close(self) -> None:
        """See Carrier."""
        self._connection.close()

    def _post(self, body: bytes) -> tuple[int, str]:
        """-> the status and what the peer says of Retry-After."""
        kept = False
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except OSError as error:  # also a certificate that does not hold
            self._connection.close()
            raise Away(f"cannot be reached ({error.strerror or error})") from error
        try:
            self._connection.request("POST", self._target, body, self._headers)
            answer = self._connection.getresponse()
            answer.read(_READ)
            kept = answer.isclosed()  # more than that is not worth reading
            return answer.status, answer.headers.get("Retry-After", "").strip()
        except TimeoutError as error:
            raise Away(f"the peer did not answer within {_TIMEOUT_S:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotTaken("the peer ended the connection without an answer", final=False) from error
        finally:
            if not kept:
                self._connection.close()


def open_webhook(address: OutputAddress) -> WebhookCarrier:
    """http[s]://[user:word@]host[:port][/path][?query][#picture=1&ca=FILE&cert=FILE&key=FILE]. Raises Refused."""
    address.refuse_other_than(*(("ca", "cert", "key") if address.scheme == "https" else ()))
    headers = {"Content-Type": "application/json", "User-Agent": "vreid"}
    if address.user is not None:
        words = f"{address.user}:{address.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(words).decode("ascii")
    target = quote(address.path or "/", _WRITTEN) + (f"?{quote(address.query, _WRITTEN)}" if address.query else "")
    if address.scheme == "http":
        connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    else:
        context = tls_context(address)
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=_TIMEOUT_S, context=context)
    return WebhookCarrier(connection, target, headers)
