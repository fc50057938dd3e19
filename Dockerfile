# The portal as an image: the same code and hash-pinned packages as `make run`, without the demonstration.
# Services, roles and volumes: docker-compose.yml.
FROM python:3.11-slim-bookworm

# What WeasyPrint draws PDF files with, Chinese letters, and openssl, which signs checkpoints of the trail.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-noto-cjk openssl \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_ENV=production \
    VAR_DIR=/var/lib/portal \
    HOME=/tmp

WORKDIR /srv/portal
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt
COPY . .

RUN useradd --system --uid 10001 --no-create-home portal \
    && install -d -o portal -g portal -m 0750 "$VAR_DIR"
USER portal
VOLUME /var/lib/portal
EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--preload", "--no-control-socket", "--bind", "0.0.0.0:8000", "--workers", "3", "--timeout", "120"]
