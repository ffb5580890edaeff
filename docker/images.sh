#!/bin/sh
# Builds the images with buildah over a Debian base made by debootstrap, and runs what is inside: a check that needs
# neither a Docker engine nor a registry of images. The Jetson images get that base in place of NVIDIA's, so what is
# NVIDIA's (TensorRT, pycuda) is not in them.
#     sudo docker/images.sh [cpu] [jetson-jp6] [jetson-jp7]
#     sudo ARCH=arm64 KIT=net.kit.zip docker/images.sh cpu      # as a Jetson's processor would, under qemu: slow
set -eu

cd "$(dirname "$0")/.."
export STORAGE_DRIVER="${STORAGE_DRIVER:-vfs}" BUILDAH_ISOLATION="${BUILDAH_ISOLATION:-chroot}"
ARCH=${ARCH:-$(dpkg --print-architecture)}
BASE=localhost/jetseg-base:$ARCH
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

main() {
    [ $# -gt 0 ] || set -- cpu jetson-jp6 jetson-jp7
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
    buildah build --quiet --arch "$ARCH" --pull-never --format docker --volume /etc/ssl/certs:/etc/ssl/certs:ro \
        --build-arg "BASE=$BASE" --build-arg "BUILD_BASE=$BASE" --build-arg EXTRAS= --build-arg TENSORRT= \
        --file "docker/$1.Dockerfile" --tag "localhost/jetseg:$1-$ARCH" .
}

check() {
    container=$(buildah from --arch "$ARCH" --pull-never "localhost/jetseg:$1-$ARCH")
    inside() { buildah run "$container" -- "$@"; }
    [ "$(inside id -u)" != 0 ] || { echo "$1: runs as root" >&2; exit 1; }
    inside sh -c '! command -v gcc && ! command -v g++ && ! command -v cc' ||
        { echo "$1: a compiler is in the image" >&2; exit 1; }
    inside jetseg --help > /dev/null
    inside jetseg doctor --need onnxruntime > /dev/null
    if [ -n "${KIT:-}" ]; then
        buildah copy --quiet --chown 10001 "$container" "$KIT" /vehicle/kit.zip > /dev/null
        inside jetseg verify kit.zip --out engines/drive.onnx
        inside jetseg run engines/drive.onnx --source synthetic:12 --no-labels --json
    fi
    buildah rm "$container" > /dev/null
    echo "$1: built and run"
}

main "$@"
