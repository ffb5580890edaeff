#!/bin/sh
# Builds the images with buildah over a Debian base made by debootstrap, and runs what is inside: a check that needs
# neither a Docker engine nor a registry of images. The Jetson images get that base in place of NVIDIA's, so what is
# NVIDIA's (TensorRT, pycuda) is not in them. `workshop` is the CPU image with torch, in which the demo runs.
#     sudo docker/images.sh [cpu] [workshop] [jetson-jp6] [jetson-jp7]
#     sudo ARCH=arm64 docker/images.sh jetson-jp6     # as a Jetson's processor would, under qemu: slow
# DRIVE=DIR, a folder with net.onnx and its manifest, net.kit.zip and data/ (images/, labels/, classes.yaml): inside each
# image the kit is verified, the network calibrated, built and driven; DIR/IMAGE-ARCH gets the class maps.
# PIP_FIND_LINKS=DIR is a folder of wheels that pip may take beside PyPI's, and with PIP_NO_INDEX=1 the only ones: under
# qemu, downloads are slow and break off.
set -eu

cd "$(dirname "$0")/.."
export STORAGE_DRIVER="${STORAGE_DRIVER:-vfs}" BUILDAH_ISOLATION="${BUILDAH_ISOLATION:-chroot}"
ARCH=${ARCH:-$(dpkg --print-architecture)}
BASE=localhost/jetseg-base:$ARCH
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

main() {
    [ $# -gt 0 ] || set -- cpu workshop jetson-jp6 jetson-jp7
    for program in buildah debootstrap; do
        command -v "$program" > /dev/null || { echo "$program is missing: apt install buildah debootstrap" >&2; exit 3; }
    done
    buildah inspect --type image "$BASE" > /dev/null 2>&1 || make_base
    for name in "$@"; do
        build "$name"
        check "$name"
    done
}

make_base() {
    foreign=
    [ "$ARCH" = "$(dpkg --print-architecture)" ] || foreign=--foreign
    debootstrap $foreign --arch="$ARCH" --variant=minbase --include=python3,python3-venv,ca-certificates \
        bookworm "$WORK/root" > "$WORK/log" || { tail "$WORK/log" >&2; exit 1; }
    # the second half runs programs of the other processor: it needs qemu-user-static and its binfmt entry
    [ -z "$foreign" ] || chroot "$WORK/root" /debootstrap/debootstrap --second-stage > "$WORK/log" ||
        { tail "$WORK/log" >&2; exit 1; }
    container=$(buildah from --arch "$ARCH" scratch)
    buildah config --arch "$ARCH" "$container"
    buildah copy --quiet "$container" "$WORK/root" / > /dev/null
    buildah commit --quiet --rm "$container" "$BASE" > /dev/null
    rm -rf "$WORK/root"
}

# The host's certificates go in, so that a proxy that the host trusts is trusted by apt and pip too.
build() {
    file=$1 extras=
    case $1 in
        cpu) extras=cpu ;;
        workshop) file=cpu extras=cpu,train,report ;;
    esac
    wheels=${PIP_FIND_LINKS:+"--volume $PIP_FIND_LINKS:$PIP_FIND_LINKS:ro --build-arg PIP_FIND_LINKS=$PIP_FIND_LINKS"}
    wheels="$wheels ${PIP_NO_INDEX:+--build-arg PIP_NO_INDEX=$PIP_NO_INDEX}"
    # shellcheck disable=SC2086 # several options in one word
    buildah build --quiet --arch "$ARCH" --pull-never --format docker --volume /etc/ssl/certs:/etc/ssl/certs:ro $wheels \
        --build-arg "BASE=$BASE" --build-arg "BUILD_BASE=$BASE" --build-arg "EXTRAS=$extras" --build-arg TENSORRT= \
        --file "docker/$file.Dockerfile" --tag "localhost/jetseg:$1-$ARCH" .
}

check() {
    container=$(buildah from --arch "$ARCH" --pull-never "localhost/jetseg:$1-$ARCH")
    # OpenBLAS 0.3.23 computes wrongly with the long vectors of QEMU's arm64 processor, which no Jetson has
    core=
    [ "$ARCH" != arm64 ] || core="--env OPENBLAS_CORETYPE=ARMV8"
    # shellcheck disable=SC2086 # an option, or nothing
    inside() { buildah run $core "$container" -- "$@"; }
    [ "$(inside id -u)" != 0 ] || { echo "$1: runs as root" >&2; exit 1; }
    inside sh -c '! command -v gcc && ! command -v g++ && ! command -v cc' ||
        { echo "$1: a compiler is in the image" >&2; exit 1; }
    inside jetseg --help > /dev/null
    inside jetseg doctor --need onnxruntime
    [ "$ARCH" != "$(dpkg --print-architecture)" ] || inside jetseg run camvid-light --source synthetic --no-labels --frames 3
    [ "$1" != workshop ] || inside jetseg demo
    case $1 in jetson-*) speak ;; esac
    [ -z "${DRIVE:-}" ] || drive "$1"
    buildah rm "$container" > /dev/null
    echo "$1: built and run"
}

# What a loop publishes over Zenoh arrives, and what it records in MCAP is a source.
speak() {
    inside sh -euc 'cd "$(mktemp -d)"
        python3 -c "$1" & listener=$!
        jetseg run camvid-light --watchdog 120 --source synthetic --no-labels --frames 8 --record-mcap drive \
            --ros2 "/segmentation?transport=zenoh&domain=7"
        wait $listener
        jetseg run camvid-light --watchdog 120 --source "mcap:$(echo drive/*.mcap):/camera/image/compressed" --no-labels' speak "$LISTENER"
}

LISTENER='
import os, time, zenoh
config = zenoh.Config()
config.insert_json5("mode", "\"router\"")
config.insert_json5("listen/endpoints", "[\"tcp/127.0.0.1:7447\"]")
session, sizes, end = zenoh.open(config), [], time.monotonic() + 600
session.declare_subscriber("7/segmentation/**", lambda sample: sizes.append(len(bytes(sample.payload))))
while max(sizes, default=0) < 480 * 360 and time.monotonic() < end:
    time.sleep(0.1)
print("a class map came over Zenoh" if time.monotonic() < end else "no class map came over Zenoh", flush=True)
os._exit(time.monotonic() >= end)
'

drive() {
    buildah copy --quiet --chown 10001 "$container" "$DRIVE" /vehicle/drive > /dev/null
    inside jetseg verify drive/net.kit.zip --out engines/kit.onnx
    inside jetseg calibrate drive/net.onnx --data folder:drive/data --split all --out drive/net.ranges.json
    inside jetseg build-engine drive/net.onnx --calibration drive/net.ranges.json --out engines/net.onnx
    inside jetseg run engines/net.onnx --source folder:drive/data --split all --no-labels --class-maps drive/maps --json
    rm -rf "${DRIVE:?}/$1-$ARCH"
    cp -r "$(buildah mount "$container")/vehicle/drive/maps" "$DRIVE/$1-$ARCH"
}

main "$@"
