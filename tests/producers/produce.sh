#!/bin/sh
# Run every producer again and write what it prints to samples/. Nothing is installed outside of the folder that is
# named, and nothing there is needed afterwards:  tests/producers/produce.sh /tmp/producers [NAME…]
# NODE and PYTHON name other interpreters (Node.js 22.13 or newer, Python 3.11 or newer).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?name a folder for the environments}
shift
node=${NODE:-node}

mkdir -p "$work"
work=$(cd "$work" && pwd)
cp -R "$here"/lib "$here"/*.py "$here"/*.mjs "$here"/package.json "$here"/requirements.txt "$work"
cd "$work"
test -d node_modules || npm install --ignore-scripts --no-audit --no-fund --no-package-lock
test -d venv || { "${PYTHON:-python3}" -m venv venv && venv/bin/pip install --quiet --requirement requirements.txt; }

# A time zone and an environment of their own: some producers print the one or the other.
for script in *.py *.mjs; do
  name=${script%.*}
  case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
  case $script in
    *.py) run="venv/bin/python $script" ;;
    *) run="$node $script" ;;
  esac
  env -i PATH="$PATH" HOME="$work" TZ=UTC LANG=C.UTF-8 PYTHONHASHSEED=0 NODE_ENV=production MASTRA_TELEMETRY_DISABLED=1 $run >"$name.jsonl"
  mv "$name.jsonl" "$here/samples/$name.jsonl"
  echo "$name: $(wc -l <"$here/samples/$name.jsonl") lines"
done
