#!/usr/bin/env bash
# A smoke test of the working tree on every CPython 3.10 to 3.13 found on this machine, with the
# newest gunicorn and uvicorn, and on the oldest CPython found with the oldest of both.
# Environments are kept in .venvs and made anew when setup.cfg has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

OLDEST="gunicorn==22.0.0 uvicorn==0.45.0 uvicorn-worker==0.4.0"

interpreter() {  # 3.x: a path that works, or nothing
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python "${PYTHON:-python3}"; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" \
                2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

smoke() {  # name, interpreter, requirements ...
    local name=$1 python=$2 venv=".venvs/$1"
    shift 2
    if [ ! -e "$venv/ready" ] || [ setup.cfg -nt "$venv/ready" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]' "$@"
        touch "$venv/ready"
    fi
    echo "== $name: $("$venv/bin/python" -m pip list --format=freeze --disable-pip-version-check \
        | grep -E '^(gunicorn|uvicorn|uvicorn-worker|uvicorn_worker|uvloop)==' | tr '\n' ' ')"
    "$venv/bin/python" -m pytest -q -n "${JOBS:-8}" -m smoke tests
}

found=""
for version in 3.10 3.11 3.12 3.13; do
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        echo "== CPython $version: not found here, skipped"
        continue
    fi
    [ -n "$found" ] || smoke oldest "$python" $OLDEST
    found=yes
    smoke "py$version" "$python"
done
[ -n "$found" ] || { echo "no CPython 3.10 to 3.13 found" >&2; exit 1; }
