# One image for every process: API, worker, migration, Flower. `docs/deploy.md` tells how they fit together.
#
#     docker build -t holdfast .
#     docker build -t holdfast --build-arg EXTRAS=flower,office .   # reads DOCX, PPTX, XLSX as well

# A minor version, not a patch: a rebuild takes up Python's and Debian's security fixes.
FROM python:3.13-slim-trixie AS build

# The engines of the extra `embedded` stay out: a container is given its PostgreSQL and Redis by URL.
ARG EXTRAS=flower

ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never

WORKDIR /build
COPY constraints.txt pyproject.toml ./
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt uv \
    && uv venv /opt/holdfast
ENV VIRTUAL_ENV=/opt/holdfast
# Dependencies first: they change less often than the code, and this layer is the slow one.
RUN uv pip install --only-binary :all: --constraint constraints.txt --requirements pyproject.toml \
    --extra server $(printf -- '--extra %s ' $(echo "$EXTRAS" | tr ',' ' '))
COPY LICENSE README.md ./
COPY src src
RUN uv pip install --no-deps .


FROM python:3.13-slim-trixie

# A fixed number, so that volumes and Kubernetes' runAsUser can name it. The folder is made here because a
# new named volume takes its owner from the image.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/holdfast --shell /usr/sbin/nologin holdfast \
    && install --directory --owner=holdfast --group=holdfast --mode=0700 /var/lib/holdfast

COPY --from=build /opt/holdfast /opt/holdfast

ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOLDFAST_HOME=/var/lib/holdfast \
    PORT=8000

WORKDIR /var/lib/holdfast
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

# Says that the API answers, not that PostgreSQL does: /readyz tells that, and restarting would not mend it.
# Other processes of this image bring their own check.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]

# No ENTRYPOINT: platforms differ in whether their start command replaces it or is appended to it, and
# `holdfast worker` means the same on all of them this way. `exec`, so that SIGTERM reaches the server.
CMD ["sh", "-c", "exec holdfast api --host 0.0.0.0 --port \"$PORT\""]
