"""The command `vreid`: finds the verb, parses its flags into the verb's dataclass, turns errors into sentences."""

import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import tyro

from vreid.cli import output
from vreid.models.errors import Refused
from vreid.runtime.network_address import redacted

VERBS = {
    "train": "teach a teacher or a student: vreid train teacher|student",
    "recipes": "the recipes of vreid train, and one with all its settings as a TOML file",
    "cache-teacher": "a teacher's embeddings of every picture of a data set, computed once and kept in a file",
    "eval": "mAP, Rank-k and mINP of a checkpoint or a manifest",
    "export": "lower a checkpoint to ONNX with its manifest",
    "adopt": "a foreign ONNX embedder under the contract",
    "build": "make an engine of an ONNX model for the device at hand",
    "quantize": "INT8 by explicit Q/DQ, for processors or for TensorRT",
    "verify": "a lowered model against its reference: mAP, cosine, open-set threshold",
    "bench": "latency, throughput, memory, params, MACs and FLOPs in one table",
    "profile": "params, MACs and FLOPs of every layer",
    "gallery": "enrol, search, list, show, merge, split, undo, purge, export, check ...: vreid gallery --help",
    "run": "find vehicles again in video files and live cameras",
    "eval-run": "a finished run against its ground truth: IDF1, HOTA, identities, delays, latency budget",
    "synth": "render a synthetic scene as a data set or as videos with ground truth",
    "demo": "three synthetic cameras, one gallery, one report",
    "doctor": "what is installed, what is missing for which job, and the fix",
}

RENAMED = {"teach": "cache-teacher"}  # for one release: old verbs, which run as before with a notice
MOVED = {"score": "bench/score.py"}  # for one release: scripts of the repository, which no wheel holds


# --flag without a --no-flag twin, and subcommands' flags without the field names in front
HABITS = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)


def _usage() -> str:
    lines = [f"  {verb:<14}{text}" for verb, text in VERBS.items()]
    return (
        "usage: vreid VERB ...\n\nvehicle re-identification beside the camera\n\n"
        + "\n".join(lines)
        + "\n\nvreid VERB --help says more.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 the answer is no, 2 the request was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    output.guard()
    try:
        try:
            return _answered(words)
        finally:
            sys.stdout.flush()
    except Refused as error:
        output.error(str(error))
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vreid"):
            raise
        output.error(f"vreid {words[0]} needs the package '{error.name}'; vreid doctor says how to install it")
        return 2
    except KeyboardInterrupt:
        output.error("interrupted")
        return 130
    except MemoryError:
        output.error("there is not enough memory for this; give smaller numbers, fewer pictures or a smaller model")
        return 2
    except OSError as error:  # a name too long, a folder that may not be looked into, a full disk
        where = "a file" if error.filename is None else error.filename
        output.error(f"cannot use {where} ({error.strerror or error}); check the path, its permissions and the disk")
        return 2


def _answered(words: Sequence[str]) -> int:
    """The exit code of a command that nothing went wrong in; the usage or the version where there is no verb."""
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0 if words else 2
    verb, *rest = words
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"vreid {version('vreid')}\n")
        return 0
    # FFmpeg and OpenCV can only be silenced before they are loaded; what is wrong with a video is said in a sentence of ours
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    if verb in MOVED:
        raise Refused(
            f"vreid {verb} is a script of the repository now; in a checkout of it run python {MOVED[verb]} with the same words"
        )
    if verb in RENAMED:
        output.note(f"vreid {verb} is called vreid {RENAMED[verb]} now; the old name goes with the next release")
        verb = RENAMED[verb]
    if verb not in VERBS:
        output.error(f"there is no verb '{verb}'; vreid --help lists them")
        return 2
    module = importlib.import_module(f"vreid.cli.{verb.replace('-', '_')}")
    return int(module.main(_flags(module.Args, verb, rest)))


def _flags(kind: type[Any], verb: str, words: Sequence[str]) -> Any:
    """`words` as the dataclass of the verb. tyro repeats a word that it does not take: never one with a password."""
    shown = [redacted(word) for word in words]
    parse = partial(tyro.cli, kind, prog=f"vreid {verb}", config=HABITS)
    if shown == words:
        return parse(args=words)
    try:
        return parse(args=words, console_outputs=False)
    except SystemExit as end:
        parse(args=shown)  # ends in the same way, and says why
        raise SystemExit(end.code) from None


if __name__ == "__main__":
    sys.exit(main())
