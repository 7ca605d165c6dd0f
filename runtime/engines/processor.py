"""What this processor computes fast, for INT8 engines and for trainings in bfloat16."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def has_vnni(cpuinfo: Path = CPUINFO, unknown: bool = True) -> bool:
    """Whether this processor sums int8 products in 32 bits (x86 VNNI, or ARM's dot product); `unknown` where nothing says so."""
    return _has({"avx512_vnni", "avx_vnni", "asimddp"}, cpuinfo, unknown)


def has_bfloat16(cpuinfo: Path = CPUINFO, unknown: bool = True) -> bool:
    """Whether it multiplies in bfloat16 (AVX512-BF16, AMX, or ARM's BF16); `unknown` where nothing says so."""
    return _has({"avx512_bf16", "amx_bf16", "bf16"}, cpuinfo, unknown)


def _has(wanted: set[str], cpuinfo: Path, unknown: bool) -> bool:
    if not cpuinfo.is_file():
        return unknown
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    flags = next((line.split() for line in lines if line.startswith(("flags", "features"))), [])
    return bool(wanted & set(flags)) if flags else unknown
