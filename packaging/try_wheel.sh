#!/usr/bin/env bash
# Builds the sdist and from it the wheel, installs only the wheel into a fresh environment, and runs there what README shows
# of Python; a type checker must see the types.  packaging/try_wheel.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet build
"$work/venv/bin/python" -m build --quiet --outdir "$work/dist" .
"$python" -m venv --clear "$work/venv"
"$work/venv/bin/pip" install --quiet "$work"/dist/*.whl
export PATH=$work/venv/bin:$PATH
mkdir "$work/here" && cd "$work/here"

python -c 'import sys, vreid; assert "here" not in vreid.__file__; print("vreid", vreid.__version__, "in", vreid.__file__)'
sed -n '/^## From Python/,/^## The path/p' "$root/README.md" > section
sed -n '/^```bash/,/^```$/p' section | sed '/^```/d' > make-data.sh
sed -n '/^```python/,/^```$/p' section | sed '/^```/d' > lines.py
bash -euo pipefail make-data.sh
python lines.py

pip install --quiet mypy
cat > typed.py <<'PY'
import vreid

reveal_type(vreid.load("vreid-s"))
reveal_type(vreid.Gallery("a", vreid.load("vreid-s")).search("b.jpg"))
PY
mypy --strict typed.py | tee types
grep -q 'Model"' types && grep -q 'list\[.*Hit\]"' types
