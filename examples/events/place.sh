#!/bin/sh
# Ask for a placement over NATS by the `nats` tool, and follow it until nothing more comes: docs/publish.md.
# This is the binary mode of CloudEvents: attributes are headers, and the payload is the data alone.
set -eu
export NATS_URL="$MOORAGE_NATS_URL"
subject=$(moorage requests subject place) # moorage.requests.root=3Aapps=3Ashop.shirin.place
workspace=$(echo "$subject" | cut -d . -f 3)

nats publish --jetstream "$subject" --force-stdin < "$(dirname "$0")/hello.json" \
  -H "ce-specversion:1.0" -H "ce-type:io.moorage.placement.place.v1" -H "content-type:application/json" \
  -H "ce-source:/examples" -H "ce-id:{{ID}}"
nats subscribe --stream MOORAGE_EVENTS --all --raw --wait 10s "moorage.events.$workspace.shop.hello.>"
