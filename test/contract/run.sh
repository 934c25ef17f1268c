#!/bin/sh
# Sends the program what its OpenAPI document allows and what it does not, and holds every reply against the document.
# Needs go, curl, python3 with venv, and PyPI; the program itself fetches nothing: URLs in the document lead nowhere.
# EXAMPLES and SECONDS_AT_MOST bound the random part.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
port=${PORT:-18433}
base="http://127.0.0.1:$port"
work=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid"; rm -rf "$work"' EXIT
cd "$work"

(cd "$root" && CGO_ENABLED=0 go build -tags=nodynamic -o "$work/cutout" .)
./cutout serve --addr "127.0.0.1:$port" --data-dir "$work/data" --fetch-only-allowed --quality fast >log 2>&1 &
pid=$!
for _ in $(seq 100); do
	curl -sf "$base/readyz" >ready && break
	sleep 0.1
done
test -s ready || { cat log >&2; exit 1; }

python3 -m venv venv
venv/bin/pip install -q schemathesis==4.32.5
venv/bin/schemathesis run "$base/openapi.yaml" --url "$base" --phases examples,coverage,fuzzing \
	--checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
	--max-examples "${EXAMPLES:-15}" --max-time "${SECONDS_AT_MOST:-420}" --continue-on-failure --request-timeout 60 --seed 7 --no-color --warnings off
