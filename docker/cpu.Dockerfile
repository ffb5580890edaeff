# The CPU image: ONNX Runtime, no torch, no compiler.
#     docker build --file docker/cpu.Dockerfile --tag jetseg:cpu .
# With the workshop's extras it is a workstation's image, in which `jetseg demo` runs. PyPI's torch brings CUDA along,
# some gigabytes; PIP_FIND_LINKS may name a folder or a page that has a torch for processors only.
#     docker build --file docker/cpu.Dockerfile --build-arg EXTRAS=cpu,train,report --tag jetseg:workshop .
# docker/pin-bases.sh adds or renews the digest of the base; without one, the tag is trusted.
ARG BASE=docker.io/library/debian:12.11-slim

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG EXTRAS=cpu
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt docker/cpu.lock README.md LICENSE ./
COPY engines/ engines/
COPY jetseg/ jetseg/
# What comes from the package index comes by its hash; the last step finds all of it there, unless EXTRAS asks for more.
RUN python3 -m venv /opt/jetseg \
    && /opt/jetseg/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement cpu.lock \
    && /opt/jetseg/bin/pip install --no-cache-dir --no-build-isolation --constraint constraints.txt ".[${EXTRAS}]"

# hadolint ignore=DL3006
FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --groups video --no-log-init --create-home jetseg \
    && install --directory --owner jetseg --group jetseg /vehicle /vehicle/engines
COPY --from=build /opt/jetseg /opt/jetseg
ENV PATH=/opt/jetseg/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /vehicle
VOLUME /vehicle/engines
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["jetseg", "doctor", "--need", "onnxruntime"]
ENTRYPOINT ["jetseg"]
CMD ["doctor"]
