# Comptroller in one image: `up` by default; compose.yaml and docs/deployment.md run its parts one by one.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock .
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-deps --require-hashes -r requirements.lock

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=gateway.settings \
    COMPTROLLER_DATA_DIR=/data
RUN useradd --uid 10001 --no-create-home comptroller && install -d -o comptroller -m 0750 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/comptroller
COPY manage.py ./
COPY gateway gateway
COPY observability observability
COPY governance governance
COPY templates templates
RUN python -m compileall -q gateway observability governance
USER comptroller
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
CMD ["python", "manage.py", "up", "--host", "0.0.0.0"]
