#!/usr/bin/env bash
# Installs what test_runtimes.py runs the test vectors in: the npm packages and three Python environments, each from
# locked hashes. Tries all of them, says what it could not install, then exits 1. What is up to date is left alone.
# Needs node with npm, and Python 3.11 for the oldest ONNX Runtime; chromium comes from the system (apt install chromium).
#
# Renewed with `uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o FILE`:
#   clean.txt     onnxruntime numpy             (with -c requirements/dev.txt)
#   oldest.txt    onnxruntime==1.15.0 numpy<2   (nothing older has a build for Python 3.11)
#   openvino.txt  openvino
set -uo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-$([ -x ../../.venv/bin/python ] && echo ../../.venv/bin/python || echo python3)}
missing=()

environment() { # NAME PYTHON: .venvs/NAME from NAME.txt
  cmp -s "$1.txt" ".venvs/$1/installed.txt" && return
  "$2" -m venv --clear ".venvs/$1" &&
    ".venvs/$1/bin/python" -m pip install -qq --require-hashes -r "$1.txt" &&
    cp "$1.txt" ".venvs/$1/installed.txt" ||
    missing+=("$1.txt with $("$2" --version 2>&1)")
}

if ! command -v npm > /dev/null; then
  missing+=("onnxruntime-node and onnxruntime-web: npm is not installed")
elif ! cmp -s package-lock.json node_modules/installed.json; then
  { npm ci --ignore-scripts --silent && cp package-lock.json node_modules/installed.json; } || missing+=("package-lock.json")
fi

environment clean "$python"
environment openvino "$python"
if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
  environment oldest "$python"
elif command -v python3.11 > /dev/null; then
  environment oldest python3.11
else
  missing+=("oldest.txt: python3.11 is not installed")
fi

[ "${#missing[@]}" -eq 0 ] && exit
printf 'tests/runtimes/install.sh could not install %s\n' "${missing[@]}" >&2
exit 1
