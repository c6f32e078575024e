# syntax=docker/dockerfile:1
# reauth-proxy in a container: nothing but Python, the program and what it needs; no shell tools to build with, no root.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements ./requirements
COPY reauth_proxy ./reauth_proxy
# Exactly what requirements/ says, each archive by its hash; what only builds stays in an environment of its own.
RUN python -m venv /opt/reauth-proxy-build \
 && /opt/reauth-proxy-build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements/build.txt \
 && /opt/reauth-proxy-build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /opt/reauth-proxy-build/wheel . \
 && python -m venv /opt/reauth-proxy \
 && /opt/reauth-proxy/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements/runtime.txt \
 && /opt/reauth-proxy/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index /opt/reauth-proxy-build/wheel/*.whl \
 && /opt/reauth-proxy/bin/python -m compileall -q /opt/reauth-proxy/lib \
 && /opt/reauth-proxy/bin/pip uninstall --yes --disable-pip-version-check pip

FROM python:3.13-slim
# A fixed number, so that the volume's owner stays right from one image to the next.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin reauth \
 && install --directory --owner reauth --mode 0700 /var/lib/reauth-proxy
COPY --from=build /opt/reauth-proxy /opt/reauth-proxy
ENV PATH=/opt/reauth-proxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib
USER 10001
# The session. Everything else may be read-only: docker run --read-only.
VOLUME /var/lib/reauth-proxy
# A container of its own has to listen on 0.0.0.0 (with access.allow_remote); in a pod, loopback is shared and enough.
EXPOSE 8080
STOPSIGNAL SIGTERM
# Healthy is ready: a request could be served with a token. It asks the control plane, which has to be on for it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s \
  CMD ["reauth-proxy", "status", "--config", "/etc/reauth-proxy/config.yaml"]
ENTRYPOINT ["reauth-proxy"]
CMD ["--config", "/etc/reauth-proxy/config.yaml"]
