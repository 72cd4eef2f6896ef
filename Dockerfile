# One image for every process of the product; the command decides which.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=portal.settings.production TOLLWAY_DATA_DIR=/data
# The directory belongs to the user in the image, so that a new volume over it does too.
RUN useradd --system --uid 10001 tollway && mkdir /data && chown 10001 /data
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py ./
COPY gateway gateway
COPY metering metering
COPY portal portal
COPY billing billing
COPY templates templates
COPY static static
COPY deploy/__init__.py deploy/__init__.py
COPY deploy/container deploy/container
USER 10001
VOLUME /data
CMD ["uvicorn", "portal.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "20"]
