#!/bin/sh
# Bakes the base image: puts the settings where the shop reads them, and leaves a
# list of the image's files with their checksums, so that a look at a machine
# tells what was on it when it was baked.
#
# Runs in the root of the image, with the repository in $PENSTOCK_SOURCE. The same
# repository gives the same image: nothing here depends on the time or the host.
set -eu
export LC_ALL=C
umask 022

source=${PENSTOCK_SOURCE:?is not set: run this as a step of a baked image}

mkdir -p etc
cp "$source/config/shop.json" etc/shop.json
chmod 0644 etc/shop.json

find . -type f ! -path ./etc/image.manifest -exec cksum {} + | sort -k 3 > etc/image.manifest
echo "baked $(wc -l < etc/image.manifest | tr -d ' ') files"
