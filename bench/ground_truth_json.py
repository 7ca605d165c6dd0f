"""Ground truth that others ship as a pickle, made JSON: the pickle is read and never run, plain values only.

python bench/ground_truth_json.py gnd_roxford5k.pkl gnd_roxford5k.json
"""

import argparse
import json
import pickletools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from landmarks import MOST_BYTES, truth_bytes

from vreid.models.errors import Refused
from vreid.models.files import write_atomic

_MOST_GROWN = 16 * MOST_BYTES
_NUMPY = ("numpy._core", "numpy.core")  # numpy 2 and numpy 1
_NAMES = {
    **{f"{core}.multiarray _reconstruct": "array" for core in _NUMPY},
    **{f"{core}.multiarray scalar": "scalar" for core in _NUMPY},
    **{f"{core}.numeric _frombuffer": "buffer" for core in _NUMPY},
    "numpy ndarray": "ndarray",  # only ever an argument of _reconstruct, which needs none
    "numpy dtype": "type",
    "_codecs encode": "latin1",  # how protocols below 3 write bytes
    "__builtin__ bytes": "no bytes",  # and how they write none
}
_PLAIN_TYPE = re.compile(r"[biuf][1248]|U[1-9][0-9]{0,3}|O8?")
_VALUES = re.compile(r"(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|(SHORT_)?(BIN)?(STRING|UNICODE|BYTES)8?|BYTEARRAY8")
_DAMAGED = (AttributeError, LookupError, MemoryError, OverflowError, RecursionError, TypeError, ValueError)


def plain_content(path: Path) -> object:
    """What a pickle holds, as lists, dicts, tuples, strings and numbers.

    One-dimensional numpy arrays become lists, numpy numbers become Python's. A pickle is a program, so it is not given to
    Python's unpickler: its instructions are read here, those that make plain values are followed, and no function that it
    names is called. (Letting numpy's through would not be safe: a forged dtype makes them take bytes for pointers, and
    the unpickler itself can be made to overflow the stack.)
    Raises Refused for a pickle that names anything else, by that name, and for files that are cut, damaged or too large.
    """
    content = truth_bytes(path)
    try:
        return _unpickled(content, path)
    except _DAMAGED as error:
        raise Refused(f"{path} is not a complete pickle of plain values; download it again") from error


def convert(pickled: Path, out: Path) -> None:
    """Write the content of a pickle as JSON. Raises Refused as `plain_content`, and for what JSON does not have."""
    try:
        write_atomic(out, json.dumps(plain_content(pickled)))
    except (TypeError, ValueError) as error:
        raise Refused(f"{pickled} holds what JSON does not have ({error}); download it again") from error


@dataclass(frozen=True)
class _Name:
    """A name that the pickle looked up: a value of _NAMES, never the thing itself."""

    means: str


@dataclass
class _Type:
    """Stands in for a numpy dtype, whose byte order comes after it is made."""

    code: str
    order: str = "|"


class _Array(list[Any]):
    """Stands in for a one-dimensional numpy array, whose values come after it is made."""


def _unpickled(content: bytes, path: Path) -> object:
    """Follows the instructions (listed in the standard library's pickletools) on a stack of plain values."""
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under the marks
    memo: dict[int, Any] = {}
    made_bytes = 0  # bytes that functions would have made, which one argument may be given to over and over
    for code, value, _ in pickletools.genops(content):
        if made_bytes > _MOST_GROWN:
            raise Refused(f"the pickle {path} makes more than ground truth holds; do not trust it")
        match code.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[code.name])
            case "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_DICT":
                stack.append({"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}[code.name]())
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if value is None else int(value)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[int(value or 0)])
            case "MARK":
                below.append(stack)
                stack = []
            case "LIST" | "TUPLE" | "DICT" | "APPENDS" | "SETITEMS":
                items, stack = stack, below.pop()
                if code.name in ("LIST", "TUPLE"):
                    stack.append(items if code.name == "LIST" else tuple(items))
                elif code.name == "APPENDS":
                    _list(stack[-1]).extend(items)
                else:
                    if code.name == "DICT":
                        stack.append({})
                    _fill(stack[-1], items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(code.name[-1]) :] = [tuple(stack[-int(code.name[-1]) :])]
            case "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            case "SETITEM":
                items = [stack.pop(-2), stack.pop()]
                _fill(stack[-1], items)
            case "GLOBAL":
                stack.append(_known(str(value), path))
            case "STACK_GLOBAL":
                stack[-2:] = [_known(" ".join(stack[-2:]), path)]
            case "REDUCE":
                stack[-2:] = [_made(stack[-2], stack[-1])]
                made_bytes += _weight(stack[-1])
            case "BUILD":
                state = stack.pop()
                _complete(stack[-1], state)
                made_bytes += _weight(stack[-1])
            case name if _VALUES.fullmatch(name):
                stack.append(value)
            case name:
                raise Refused(f"the pickle {path} holds {name}, which ground truth does not need; do not trust it")
    return stack[-1]


def _weight(value: Any) -> int:
    """About how many bytes a value takes that a function has made; a text as its letters, an entry of a list as 64."""
    if isinstance(value, bytes | str):
        return len(value)
    return 64 * len(value) if isinstance(value, list) else 64


def _known(name: str, path: Path) -> _Name:
    if name not in _NAMES:
        shown = name.replace(" ", ".")[:80]
        raise Refused(f"the pickle {path} calls for {shown!a}, which ground truth does not need; do not trust it")
    return _Name(_NAMES[name])


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("appends to what is not a list")
    return value


def _fill(value: Any, items: list[Any]) -> None:
    """Only strings are keys: the hash of tuples in tuples overflows the stack."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in items[::2]):
        raise ValueError("fills what is not a dict of names")
    value.update(zip(items[::2], items[1::2], strict=True))


def _made(name: Any, arguments: Any) -> object:
    """What numpy's (or Python's) function of that name would have made, as a plain value."""
    match name, arguments:
        case _Name("array"), (_Name("ndarray"), *_):
            return _Array()
        case _Name("type"), (str(code), *_) if _PLAIN_TYPE.fullmatch(code):
            return _Type(code)
        case _Name("scalar"), (_Type() as kind, raw):
            return _values(raw, kind, (1,))[0]
        case _Name("buffer"), (raw, _Type() as kind, shape, _):
            return _values(raw, kind, shape)
        case _Name("latin1"), (str(text), "latin1" | "latin-1"):
            return text.encode("latin1")
        case _Name("no bytes"), ():
            return b""
    raise ValueError("makes what is not a plain value")


def _complete(value: Any, state: Any) -> None:
    match value, state:
        case _Type(), (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
            value.order = order
        case _Array(), (_, shape, _Type() as kind, _, raw):
            value[:] = _values(raw, kind, shape)
        case _:
            raise ValueError("gives a state to what has none")


def _texts(raw: bytes | bytearray, kind: _Type) -> list[str]:
    """Decoded here: numpy makes strings of any 32 bits, on which Python itself breaks later."""
    text, width = raw.decode("utf-32-be" if kind.order == ">" else "utf-32-le"), int(kind.code[1:])
    return [text[start : start + width].rstrip("\0") for start in range(0, len(text), width)]


def _numbers(raw: bytes | bytearray, kind: _Type) -> list[Any]:
    values: list[Any] = np.frombuffer(raw, kind.order + kind.code).tolist()
    return values


def _values(raw: Any, kind: _Type, shape: Any) -> list[Any]:
    if isinstance(raw, str):  # the bytes of Python 2
        raw = raw.encode("latin1")
    if kind.code.startswith("O"):
        values = _list(raw)
    elif isinstance(raw, bytes | bytearray):
        values = _texts(raw, kind) if kind.code.startswith("U") else _numbers(raw, kind)
    else:
        raise ValueError("an array of neither bytes nor objects")
    if shape != (len(values),):
        raise ValueError("an array of more than one dimension, or of another length than it says")
    return values


def main() -> int:
    """Convert one file; 2 where it is refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pickle", type=Path)
    parser.add_argument("json", type=Path)
    flags = parser.parse_args()
    try:
        convert(flags.pickle, flags.json)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
