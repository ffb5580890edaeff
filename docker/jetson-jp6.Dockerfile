# Jetson Orin with JetPack 6.1 or 6.2: TensorRT 10.3, CUDA 12.6, Python 3.10.
#     docker build --file docker/jetson-jp6.Dockerfile --tag jetseg:jp6 .
# OpenCV is Ubuntu's, which reads CSI cameras through GStreamer; it needs NumPy 1.
# docker/pin-bases.sh adds or renews the digests of the bases; without one, the tag is trusted.
ARG BUILD_BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel
ARG BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime

# hadolint ignore=DL3006
FROM ${BUILD_BASE} AS build
# Empty leaves pycuda out, which is compiled against CUDA: for a base without CUDA.
ARG EXTRAS=tensorrt,record,dashboard,deploy,ros2,mcap,foxglove,mqtt
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE docker/jetson-constraints.txt docker/jetson.lock docker/pycuda.lock ./
COPY engines/ engines/
COPY jetseg/ jetseg/
ENV PATH=/usr/local/cuda/bin:$PATH
# What comes from the package index comes by its hash; the last step finds all of it there, unless EXTRAS asks for more.
RUN python3 -m venv --system-site-packages /opt/jetseg \
    && /opt/jetseg/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement jetson.lock \
    && case ",${EXTRAS}," in *,tensorrt,*) /opt/jetseg/bin/pip install --no-cache-dir --require-hashes --no-deps \
        --no-build-isolation --requirement pycuda.lock ;; esac \
    && /opt/jetseg/bin/pip install --no-cache-dir --no-build-isolation --constraint jetson-constraints.txt \
        ".${EXTRAS:+[${EXTRAS}]}"

# hadolint ignore=DL3006
FROM ${BASE}
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3 python3-opencv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --groups video --no-log-init --create-home jetseg \
    && install --directory --owner jetseg --group jetseg /vehicle/engines
COPY --from=build /opt/jetseg /opt/jetseg
ENV PATH=/opt/jetseg/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
USER 10001
WORKDIR /vehicle
VOLUME /vehicle/engines
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["jetseg", "doctor", "--need", "tensorrt"]
ENTRYPOINT ["jetseg"]
CMD ["doctor"]
