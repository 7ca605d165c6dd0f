#!/usr/bin/env bash
# The tests of the core with the lowest versions that pyproject.toml names: packaging/lowest.sh [PYTHON [FOLDER]]
#
# A virtual environment is made in FOLDER (a temporary one by default). Only the core is installed, no extra: what needs torch or
# onnx is skipped by name. PYTHON is 3.10, the lowest of all, by default. With VERSIONS=highest the newest versions are taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${1:-python3.10}
if [[ -n ${2:-} ]]; then
    folder=$2
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check uv
VIRTUAL_ENV=$folder "$folder/bin/uv" pip install --quiet --resolution "${VERSIONS:-lowest-direct}" -e .
"$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check pytest pytest-xdist
"$folder/bin/python" -m pip list --disable-pip-version-check
OMP_NUM_THREADS=1 "$folder/bin/python" -m pytest -rs -p no:cacheprovider -n "${WORKERS:-2}" --dist loadfile
