# The gateway as an image: dependencies and code, run by a user without rights.
#
#   docker build --tag responses-gateway .
#   docker run --init --publish 5969:5969 --volume gateway:/data \
#       --env GATEWAY_UPSTREAM_URL=http://vllm:8000 responses-gateway
#
# A container's port is reached from outside of it, so API keys are needed from the first request:
#   docker exec CONTAINER python manage.py createapikey NAME

FROM python:3.13-slim-bookworm AS build
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# The dependencies change less often than the code: a layer of their own.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-default-groups
COPY . .
RUN python -m compileall -q apps responses_gateway

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --create-home gateway
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_DATA_DIR=/data \
    GATEWAY_LOG_FORMAT=json
USER gateway
VOLUME /data
EXPOSE 5969
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5969/health', timeout=2)"]
# SIGTERM drains: give it more time than GATEWAY_DRAIN_TIMEOUT (`docker stop --time 60`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "manage.py"]
CMD ["serve", "--host", "0.0.0.0"]
