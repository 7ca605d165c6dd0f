"""What edits with a key have answered, kept by the store, so that whoever repeats one gets the same answer and no second edit.

An answer is written in the transaction of its edit: both are on the disk, or neither is. It stays for a day, but for the names
of vehicles that are removed.
"""

import hashlib
import json
import time
from collections.abc import Collection
from typing import Any

from vreid.models.errors import KeyReused, Refused
from vreid.runtime.gallery import names
from vreid.runtime.gallery.records import with_merged
from vreid.runtime.gallery.store import Store

KEPT_S = 86400.0
MOST = 10_000
_LONGEST = 200  # characters of a key
_PREFIX = "answer to "


def kept_answer(store: Store, key: str, requested: str) -> dict[str, Any] | None:
    """The result of the edit `requested` that was requested with this key; None: there was none within a day.

    Raises KeyReused where another one was, and Refused for a key that is empty, too long or not printable.
    """
    text = store.setting(_setting(key))
    if text is None:
        return None
    at, _, record = text.partition(" ")
    if at < _moment(time.time() - KEPT_S):
        return None
    kept = json.loads(record)
    if kept["requested"] != _hash(requested):
        raise KeyReused(
            f"another edit was requested with the key '{key}'; nothing was done, take a new key for a new edit"
        )
    return dict(kept["result"])


def keep_answer(store: Store, key: str, requested: str, result: dict[str, Any]) -> None:
    """Write an answer down; older ones than a day go, and of more than MOST the oldest."""
    record = json.dumps({"requested": _hash(requested), "result": result})
    store.set_setting(_setting(key), f"{_moment(time.time())} {record}")
    forget_answers(store)


def forget_answers(store: Store) -> None:
    """Delete the answers that are older than a day, and of more than MOST the oldest."""
    store.trim_settings(_PREFIX, _moment(time.time() - KEPT_S), MOST)


def forget_names(store: Store, vehicles: Collection[int]) -> None:
    """No answer has a name of `vehicles`, which are deleted, or of what was merged into them, any longer."""
    gone = with_merged(vehicles, store.changes(verbs=("merge",)))
    gone -= store.names(gone).keys()
    for setting, text in store.settings(_PREFIX).items():
        at, _, record = text.partition(" ")
        try:
            kept = json.loads(record)
            bare = {**kept, "result": without_names(kept["result"], gone)}
        except (ValueError, TypeError, KeyError):  # damaged
            store.set_setting(setting, None)
            continue
        if bare != kept:
            store.set_setting(setting, f"{at} {json.dumps(bare)}")


def without_names(result: Any, vehicles: Collection[int]) -> Any:
    """The result of an edit with None for the names of these vehicles."""
    if isinstance(result, list):
        return [without_names(one, vehicles) for one in result]
    if not isinstance(result, dict):
        return result
    gone = result.get("id", result.get("vehicle")) in vehicles
    return {key: None if gone and key == "name" else without_names(value, vehicles) for key, value in result.items()}


def _setting(key: str) -> str:
    if not 1 <= len(key) <= _LONGEST:
        raise Refused(f"the key of an edit must have 1 to {_LONGEST} characters, not {len(key)}; take a random one")
    return _PREFIX + names.readable(key, "the key of an edit")


def _moment(seconds: float) -> str:
    """As text that sorts as the number does."""
    return f"{seconds:017.6f}"


def _hash(requested: str) -> str:
    return hashlib.sha256(requested.encode("utf-8", "replace")).hexdigest()
