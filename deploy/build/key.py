"""The key of an engine: all that it was made of and for. While it is the same, an engine is up to date."""

from collections.abc import Mapping

from vreid.deploy.build.records import Options, Source
from vreid.deploy.build.table import possible_here
from vreid.models.errors import Refused
from vreid.runtime.engines.devices import driver, machine_key


def source_key(source: Source) -> dict[str, str]:
    """Of the ONNX: the hash of its bytes, its precision, and the least, best and largest batch."""
    about = source.manifest
    return {"onnx": about.sha256, "precision": about.precision, "profile": " ".join(map(str, about.input.batch))}


def device_key(source: Source, options: Options, version: str) -> dict[str, str]:
    """The key of a TensorRT engine, which is tuned for the device at hand."""
    dla = {} if options.dla is None else {"dla": str(options.dla)}
    workspace = {} if options.workspace is None else {"workspace": str(options.workspace)}
    return {**source_key(source), **machine_key("tensorrt", version), **dla, **workspace}


def refuse_without_gpu(engine: str) -> None:
    """Raises Refused, with what can be built here instead, on a machine without an NVIDIA device."""
    if driver().devices:
        return
    ways = [f"{name} (ahead of time, for RTX cards)" if name == "tensorrt_rtx" else name for name in possible_here()]
    raise Refused(
        f"there is no NVIDIA device here and {engine} tunes an engine on the device that will run it: "
        f"run vreid build there, or choose what can be built here with --engine: {', '.join(ways)}"
    )


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In words, the fields in which two keys differ; of hashes the first eight digits."""
    fields = [*now, *(field for field in before if field not in now)]
    return [
        f"{field} was {_short(before.get(field))} and is {_short(now.get(field))}"
        for field in fields
        if before.get(field) != now.get(field)
    ]


def _short(value: str | None) -> str:
    if value is None:
        return "not set"
    return value[:8] if len(value) == 64 else value
