# Builds two images from a fresh clone, with nothing but Docker:
#
#   docker build --target healthchecker --tag healthchecker .
#   docker build --target accountservice --tag accountservice .
#
# The executable is compiled for the machine that the builder runs on, which takes minutes the first time.
# With --build-arg EXECUTABLE=dist it is the one that scripts/build-binary has made; MACHINE names another
# machine's. Docker's classic builder, which makes all stages, and BuildKit both build this.
#
# Debian's image is pinned by its release: a digest names one state of it, without later security fixes,
# and one registry. The sources of what is linked in are pinned in binary/sources/fetch.sh.

FROM debian:trixie-slim AS executable
ARG EXECUTABLE=build
# --allow-older: although Debian lists newer sources than it serves
ARG SOURCES=
WORKDIR /source
# In this order, so that a change of Python code does not compile CPython again.
COPY scripts/build-binary scripts/common.sh scripts/
COPY binary/machine.sh binary/
COPY binary/sources binary/sources
RUN [ "$EXECUTABLE" = dist ] \
    || { apt-get update && apt-get install --yes --no-install-recommends python3 && scripts/build-binary $SOURCES --sources; }
COPY . .
ARG MACHINE
RUN { [ "$EXECUTABLE" = dist ] || scripts/build-binary $SOURCES; } \
    && cp "dist/${MACHINE:-$(uname -m)}/healthchecker" /healthchecker


# The executable alone. A service image takes it with
#   COPY --from=healthchecker /healthchecker /healthchecker
FROM scratch AS healthchecker
COPY --from=executable /healthchecker /healthchecker
ENTRYPOINT ["/healthchecker"]


FROM debian:trixie-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*


# Build-time tools such as pip stay behind in this stage.
FROM python AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY healthchecker healthchecker
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[accountservice]' \
    && /opt/venv/bin/pip uninstall --yes pip


FROM python AS accountservice
# For whichever user the service runs as; a tmpfs mounted here takes this mode, but not an owner.
RUN install --directory --mode 1777 /data
COPY --from=packages /opt/venv /opt/venv
COPY --from=healthchecker /healthchecker /healthchecker
WORKDIR /app
COPY accountservice accountservice
ENV ACCOUNTSERVICE_HOST=0.0.0.0 \
    ACCOUNTSERVICE_DATABASE_URL=sqlite:////data/accounts.db
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 6767 6768
ENTRYPOINT ["/opt/venv/bin/python", "-m", "accountservice"]
# Docker's timeout is well above the check's own (2s), so that the check itself reports a service that
# is too slow; Docker would kill the check silently.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/healthchecker", "--port", "6767"]
