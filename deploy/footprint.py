"""How much memory a model takes: it is loaded and run in a process of its own, whose peak is compared with its start."""

import json
import subprocess
import sys
from pathlib import Path

SEEN = Path("/proc/self/status")


def memory_of(model: str, threads: int, batch: int) -> int:
    """Bytes of resident memory that loading `model` and embedding `batch` images adds to a bare Python process, at its
    peak; the libraries are part of it. Raises Refused with what the process said when it failed."""
    from vreid.models.errors import Refused

    command = [sys.executable, "-m", "vreid.deploy.footprint", model, str(threads), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise Refused(f"its memory could not be measured: {said[-1] if said else f'exit code {done.returncode}'}")
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    if SEEN.is_file():  # ru_maxrss would begin at the parent's peak: Linux hands it on at fork and keeps it over exec
        for line in SEEN.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(words: list[str]) -> int:
    """MODEL THREADS BATCH -> one line of JSON; nothing of ours is imported before the first measurement."""
    before = peak_bytes()
    from vreid.deploy.candidate import open_candidate
    from vreid.models.errors import Refused

    model, threads, batch = words
    try:
        candidate = open_candidate(model, int(threads))
        candidate.embed(candidate.pictures(int(batch)))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps({"bytes": peak_bytes() - before}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
