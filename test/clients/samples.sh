#!/bin/sh
# Runs the samples of the services' own pages against the program, unmodified but for scheme, host and the paths of files, and
# PyPI's ximilar-client. The pages are not part of this repository: PAGES names the folder with their text.
# Needs go, curl, python3 with venv and a registry; the samples in PHP need php with curl, those in JavaScript node and npm.
# What is missing is said and skipped. Nothing but the registries is contacted.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
port=${PORT:-18433}
export BASE="http://localhost:$port" PHOTO="$root/testdata/photos/astronaut.png" PAGES="${PAGES:-$root/../shared/contracts/vendor-pages}"
for program in go curl python3; do
	command -v $program >/dev/null || { echo "skipped: there is no $program"; exit 0; }
done
work=$(mktemp -d)
pid=
trap 'test -z "$pid" || { kill "$pid"; wait "$pid" || true; }; rm -rf "$work"' EXIT
cd "$work"

if [ -n "${CUTOUT:-}" ]; then # a binary that is there already
	cp "$CUTOUT" cutout
else
	(cd "$root" && CGO_ENABLED=0 go build -tags=nodynamic -o "$work/cutout" .)
fi
# The keys that stand in the samples.
for key in YOUR_API_KEY api_key __API_TOKEN__ ...; do
	printf 'sample %s\n' "$(printf %s "$key" | sha256sum | cut -d' ' -f1)"
done >keys
./cutout serve --addr "127.0.0.1:$port" --api-keys keys --data-dir "$work/data" --fetch-allow 127.0.0.0/8 --fetch-only-allowed >log 2>&1 &
pid=$!
for _ in $(seq 300); do
	curl -sf "$BASE/readyz" >ready && break
	sleep 0.1
done
test -s ready || { cat log >&2; exit 1; }

python3 -m venv venv
venv/bin/pip install -q requests pillow ximilar-client==1.39.0 opencv-python-headless # which that wants for files and base64
if command -v node >/dev/null && command -v npm >/dev/null; then
	npm init -y >npm.log 2>&1 && npm install --silent --no-audit --no-fund request@2.88.2 >>npm.log 2>&1 || echo "the npm package request cannot be installed: $(tail -1 npm.log)"
fi
venv/bin/python "$here/samples.py"
