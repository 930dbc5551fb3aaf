# Two images from one file; the executable itself comes from scripts/build-binary.
#
#   docker build --target healthchecker --tag healthchecker .
#   docker build --target accountservice --tag accountservice .
# For an arm64 machine: --build-arg MACHINE=aarch64, with its executable and on such a machine.

# The executable alone. A service image takes it with
#   COPY --from=healthchecker /healthchecker /healthchecker
FROM scratch AS healthchecker
ARG MACHINE=x86_64
COPY dist/$MACHINE/healthchecker /healthchecker
ENTRYPOINT ["/healthchecker"]


FROM debian:trixie-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*


# What only installing needs (pip and its like) stays behind in this stage.
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
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 6767 6768
ENTRYPOINT ["/opt/venv/bin/python", "-m", "accountservice"]
# Docker's limit is well above the check's own (2s), so that a service which is too slow is reported
# in words by the check. Docker would kill it and say nothing.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/healthchecker", "--port", "6767"]
