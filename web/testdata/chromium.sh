#!/bin/sh
# Installs the Chromium that the browser test drives, where apt-get can; elsewhere the test says that it is skipped.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
	command -v "$name" >/dev/null && exit 0
done
command -v apt-get >/dev/null || { echo "chromium.sh: there is neither Chromium nor apt-get" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "chromium.sh: installing Chromium takes root" >&2; exit 1; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core curl jq >/dev/null
