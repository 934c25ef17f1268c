#!/bin/sh
# Runs published clients of the services against the program, unmodified but for the scheme and host they call.
# Needs go, curl, python3 with venv, node and npm, and their registries; nothing else is contacted.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
port=${PORT:-18432}
export BASE="http://127.0.0.1:$port" PHOTO="$root/testdata/photos/astronaut.png"
work=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid"; rm -rf "$work"' EXIT
cd "$work"

(cd "$root" && CGO_ENABLED=0 go build -tags=nodynamic -o "$work/cutout" .)
./cutout keys new clients >keys 2>key
KEY=$(grep -o 'cutout_[A-Z2-7]*' key)
export KEY
./cutout serve --addr "127.0.0.1:$port" --api-keys keys --data-dir "$work/data" >log 2>&1 &
pid=$!
for _ in $(seq 100); do
	curl -sf "$BASE/readyz" >ready && break
	sleep 0.1
done
test -s ready || { cat log >&2; exit 1; }

python3 -m venv venv
venv/bin/pip install -q removebg==0.4 requests
sed -i.orig "s#https://api.remove.bg#$BASE#" venv/lib/python3*/site-packages/removebg/removebg.py
venv/bin/python "$here/clients.py"

npm init -y >npm.log 2>&1
npm install --silent remove.bg@1.3.0 >>npm.log 2>&1
sed -i.orig "s#https://api.remove.bg#$BASE#" node_modules/remove.bg/dist/index.js
cp "$here/clients.js" . && node clients.js

# The samples of the services' own pages.
check() { # what, wanted status and type, curl's arguments
	what=$1 want=$2
	shift 2
	got=$(curl -sS -o out -w '%{http_code} %{content_type}' "$@")
	if [ "$got" != "$want" ]; then
		echo "$what: $got, want $want: $(head -c 300 out)" >&2
		exit 1
	fi
	echo "$what: $got"
}
check 'curl, remove.bg' '200 image/png' -H "X-API-Key: $KEY" -F "image_file=@$PHOTO" -F size=auto -f "$BASE/v1.0/removebg"
check 'curl, APISphere' '200 image/jpeg' -X POST "$BASE/v1/remove-bg/universal" -H "X-RapidAPI-Key: $KEY" -F "image=@$PHOTO" \
	-F subject=product -F output_format=white_bg
check 'curl, API4AI' '200 application/json' -X POST "$BASE/v1/results" -H "X-RapidAPI-Key: $KEY" -F "image=@$PHOTO"
check 'curl, rembg' '200 image/png' -s -F "file=@$PHOTO" -H "Authorization: Bearer $KEY" "$BASE/api/remove"
check 'curl, PhotoRoom' '200 image/png' -X POST "$BASE/v1/segment" -H "x-api-key: $KEY" -F "image_file=@$PHOTO"
check 'curl, wrong key' '403 application/json; charset=utf-8' -H 'X-API-Key: wrong' -F "image_file=@$PHOTO" "$BASE/v1.0/removebg"
echo 'all clients are served'
