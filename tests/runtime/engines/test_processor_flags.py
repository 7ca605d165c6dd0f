"""What the processor computes fast is read from /proc/cpuinfo, of x86 and of ARM."""

from pathlib import Path

from vreid.runtime.engines.processor import has_bfloat16, has_vnni


def test_vnni_is_read_from_the_processor(tmp_path: Path) -> None:
    for flags, expected in (("fpu avx2", False), ("fpu avx2 avx512_vnni", True), ("avx_vnni", True)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert has_vnni(tmp_path / "cpuinfo") is expected
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd asimddp\n")
    assert has_vnni(tmp_path / "cpuinfo") and has_vnni(tmp_path / "none")
    assert has_vnni(tmp_path / "cpuinfo", unknown=False) and not has_vnni(tmp_path / "none", unknown=False)


def test_bfloat16_is_read_from_the_processor(tmp_path: Path) -> None:
    for flags, expected in (("fpu avx512_vnni", False), ("avx512_bf16", True), ("amx_bf16 avx2", True)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert has_bfloat16(tmp_path / "cpuinfo") is expected
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd bf16\n")
    assert has_bfloat16(tmp_path / "cpuinfo") and not has_bfloat16(tmp_path / "none", unknown=False)
