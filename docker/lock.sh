#!/bin/sh
# Writes the locks of the images anew: the versions of the constraint files, and the hash of every file that the package
# index has of each. `make lock` calls it; UV= names another uv.
set -eu

cd "$(dirname "$0")/.."

lock() {
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header --no-annotate \
        "$@" pyproject.toml docker/lock.in
}

lock --extra cpu --constraint constraints.txt --output-file docker/cpu.lock
# NVIDIA's TensorRT and Ubuntu's OpenCV come from their package sources, not from here
lock --extra tensorrt --extra record --extra dashboard --extra deploy --extra ros2 --extra mcap --extra foxglove --extra mqtt \
    --constraint docker/jetson-constraints.txt --output-file docker/jetson.lock
# pycuda is compiled against the CUDA of the base, so it stands alone: an image without CUDA leaves it out
awk '/^pycuda==/ { print; while ($0 ~ /\\$/) { getline; print } }' docker/jetson.lock > docker/pycuda.lock
awk '/^pycuda==/ { while ($0 ~ /\\$/) getline; next } { print }' docker/jetson.lock > docker/jetson.lock.new
mv docker/jetson.lock.new docker/jetson.lock
