#!/usr/bin/env bash
# Environments in .venvs/gunicorn-VERSION, each with that gunicorn, the newest uvicorn and
# uvicorn-worker, and this working tree; made anew when setup.cfg has changed.
#
#     PYTHON=.venv/bin/python tests/lifecycle/environments.sh 22 23 25 newest
set -euo pipefail
cd "$(dirname "$0")/../.."

requirement() {  # 22: what pip is told
    case $1 in
        newest) echo "gunicorn" ;;
        22|23) echo "gunicorn==$1.0.*" ;;
        *) echo "gunicorn==$1.*" ;;
    esac
}

for version in "$@"; do
    venv=".venvs/gunicorn-$version"
    if [ ! -e "$venv/ready" ] || [ setup.cfg -nt "$venv/ready" ]; then
        rm -rf "$venv"
        "${PYTHON:-python3}" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            -e '.[test]' "$(requirement "$version")"
        touch "$venv/ready"
    fi
    echo "$version: $("$venv/bin/python" -m pip list --format=freeze --disable-pip-version-check \
        | grep -E '^(gunicorn|uvicorn|uvicorn-worker|uvicorn_worker|uvloop)==' | tr '\n' ' ')"
done
