# Spoolhouse as a container, beside the programs whose files it lands: they share the volume /spool.
#
#     docker build -t spoolhouse .
#     docker run --read-only --stop-timeout 40 -v spool:/spool -e SPOOLHOUSE_CLICKHOUSE__URL=clickhouse://db:9000 spoolhouse
#
# config/compose.yaml is a quick start with a ClickHouse and a producer. --build-arg EXTRAS=embedded adds ClickHouse itself (chdb://), about 1 GB.
# The process is PID 1, so the signal of `docker stop` arrives; it drains within shutdown.grace (25 s), and Docker waits
# 10 s unless --stop-timeout is longer. A kill before the end loses nothing: the next start continues.

ARG PYTHON=3.13-slim

FROM docker.io/library/python:${PYTHON} AS build
ARG EXTRAS=
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY systemd ./systemd
COPY daemon ./daemon
# A virtual environment without pip; it is compiled here, because the root may be read-only later. Some libraries bring
# their symbols and their C sources along: 100 of 150 MB.
RUN python -m venv --without-pip /opt/spoolhouse && \
    python -m pip --python /opt/spoolhouse/bin/python install --no-cache-dir --compile "/source[daemon${EXTRAS:+,$EXTRAS}]" && \
    find /opt/spoolhouse -name '*.so' -not -path '*chdb*' -exec strip --strip-unneeded {} + && \
    find /opt/spoolhouse -name '*.c' -delete

FROM docker.io/library/python:${PYTHON}
# An intruder finds no installer.
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/ensurepip /usr/local/bin/pip* && \
    mkdir /spool && chown 10001:10001 /spool
COPY --from=build /opt/spoolhouse /opt/spoolhouse
# The health check connects to http.listen, or to loopback if that is every address. 0.0.0.0:9464 is for a published
# port, Prometheus, or the probes of Kubernetes.
ENV PATH=/opt/spoolhouse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SPOOLHOUSE_SPOOL__STORAGE_PATH=/spool \
    SPOOLHOUSE_SPOOL__BASE_PATH= \
    SPOOLHOUSE_HTTP__LISTEN=127.0.0.1:9464
# By number, so that runAsNonRoot can check it. Producers need the same user or group to write into the spool.
USER 10001:10001
WORKDIR /spool
VOLUME /spool
# Healthy means that the stages make progress, or wait for ClickHouse: a restart would not bring it back.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; at = os.environ['SPOOLHOUSE_HTTP__LISTEN'].replace('0.0.0.0', '127.0.0.1').replace('[::]', '[::1]'); at == 'off' or r.urlopen(f'http://{at}/livez', timeout=4)"]
ENTRYPOINT ["spoolhouse"]
CMD ["ingest"]
