# The sidecar as an image: docs/howto/container.md. Any base with Python 3.11 to 3.13 and its venv module works.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY packaging/*.lock ./
RUN python3 -m venv tools && tools/bin/pip install --require-hashes --only-binary :all: --requirement build.lock \
 && python3 -m venv sbom && sbom/bin/pip install --require-hashes --only-binary :all: --requirement sbom.lock
# Build wheels for libraries without one, with the locked tools: everything installed below was built or checked here.
RUN tools/bin/pip wheel --require-hashes --no-deps --no-build-isolation --wheel-dir wheels --requirement requirements.lock
COPY pyproject.toml README.md LICENSE source/
COPY sidecar source/sidecar
COPY plugins source/plugins
ARG SOURCE_DATE_EPOCH=0
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./source
RUN python3 -m venv --without-pip /opt/imgtag \
 && tools/bin/pip --python /opt/imgtag/bin/python install --no-index --no-deps wheels/*.whl \
 && sbom/bin/cyclonedx-py environment --pyproject source/pyproject.toml --mc-type application --output-reproducible \
    --output-file /opt/imgtag/sbom.cdx.json /opt/imgtag/bin/python

FROM ${BASE}
RUN groupadd --gid 65532 imgtag \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/imgtag --shell /usr/sbin/nologin imgtag \
 && install --directory --owner 65532 --group 65532 --mode 0750 /var/lib/imgtag \
 && install --directory /etc/imgtag
COPY --from=build /opt/imgtag /opt/imgtag
# compose, swarm and podman put secrets into this folder.
ENV PATH=/opt/imgtag/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/imgtag \
    CREDENTIALS_DIRECTORY=/run/secrets
VOLUME /var/lib/imgtag
WORKDIR /var/lib/imgtag
USER 65532:65532
# Works from outside only if `[ops] listen` is 0.0.0.0; by default the port is reachable only inside the container.
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["imgtag", "status", "--check"]
ENTRYPOINT ["imgtag"]
CMD ["run"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="imgtag-sidecar" \
      org.opencontainers.image.description="Labels the images in an S3-compatible store or a folder and makes them searchable" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      imgtag.sbom="/opt/imgtag/sbom.cdx.json"
