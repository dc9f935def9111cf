# Build with `docker build -t sessions-gateway .`
# tests/operations/test_deployment.py runs the same steps in virtual environments.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY app app
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/gateway \
 && python -m pip --python /opt/gateway/bin/python install --no-cache-dir /wheels/sessions_gateway-*.whl

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="sessions-gateway" \
      org.opencontainers.image.description="A GraphQL gateway in front of LangSmith's tracing projects and experiments" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/gateway /opt/gateway
# The gateway writes no files, so the file system may be read-only. A `.env` file may be mounted in this directory.
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
# The check ignores proxies that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["sessions-gateway"]
CMD ["serve", "--host", "0.0.0.0"]
