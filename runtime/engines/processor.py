"""What INT8 engines need to know of this processor."""

from pathlib import Path


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo"), unknown: bool = True) -> bool:
    """Whether this processor sums int8 products in 32 bits (x86 VNNI, or ARM's dot product); `unknown` where nothing says so."""
    if not cpuinfo.is_file():
        return unknown
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    flags = next((line.split() for line in lines if line.startswith(("flags", "features"))), [])
    return bool({"avx512_vnni", "avx_vnni", "asimddp"} & set(flags)) if flags else unknown
