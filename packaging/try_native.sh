#!/usr/bin/env bash
# The lines of docs/native.md, "Build", in a clean clone and an empty prefix, up to a feature of a picture. What apt installs has to be there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$root" "$work/vreid"
cd "$work/vreid"
lines=$(sed -n '/^## Build/,/^```$/p' docs/native.md | grep -E '^(python3|cmake)')
[[ $(wc -l <<<"$lines") == 4 ]] || { echo "docs/native.md has other lines than this script knows; correct the script" >&2; exit 1; }
lines=${lines//\/usr\/local/$work/prefix}
lines=${lines//cmake --build build\/native/cmake --build build/native --parallel ${JOBS:-2}}
echo "$lines"
bash -euo pipefail -c "${lines/-DVREID_NATIVE=ON/-DVREID_NATIVE=ON -DVREID_TESTS=OFF}" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2; exit 1; }
.venv/bin/python - <<'PICTURE'
import struct, zlib
rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(90) for _ in range(3)) for y in range(60))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
header = struct.pack(">IIBBBBB", 90, 60, 8, 2, 0, 0, 0)
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
open("crop.png", "wb").write(png)
PICTURE
env -i "$work/prefix/bin/vreid-native" embed --model models/zoo/vreid-s.json crop.png --json | tee "$work/feature" | head -c 200
grep -q '"feature"' "$work/feature"
echo && echo "docs/native.md holds: a feature of a picture"
