# Bargein in a container: a page in a browser is the microphone and the speaker. See docs/container.md.

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
WORKDIR /opt/bargein
COPY pyproject.toml requirements.lock ./
# PyAudio must be compiled, and a container has no sound card. The other packages have the versions that
# the tests ran with.
RUN python3 -m venv .venv \
    && sed -n 's/^\([a-z0-9._-]*==.*[^ \\]\) *\\*$/\1/p' requirements.lock >versions.txt \
    && python3 -c 'import tomllib; print(*(name for name in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if not name.startswith("pyaudio")), sep="\n")' >needed.txt \
    && .venv/bin/pip install --no-cache-dir --constraint versions.txt --requirement needed.txt \
    && .venv/bin/pip uninstall --yes pip setuptools

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home bargein
WORKDIR /opt/bargein
COPY --from=build /opt/bargein/.venv .venv
COPY LICENSE README.md pyproject.toml config.toml Procfile Procfile.demo ./
COPY commands commands
COPY services services
COPY shared shared
USER bargein
# The bus is in memory: /dev/shm is a tmpfs in every container. The port of the page is published by
# docker; on loopback nobody else on the network reaches it.
ENV PYTHONDONTWRITEBYTECODE=1 \
    BARGEIN_BUS__DIRECTORY=/dev/shm/bargein \
    BARGEIN_CAPTURE__DEVICE=browser \
    BARGEIN_PLAYBACK__DEVICE=browser \
    BARGEIN_MONITOR__LISTEN=0.0.0.0 \
    BARGEIN_MONITOR__ALLOW_INSECURE=true
EXPOSE 8791
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8791/', timeout=4)"]
ENTRYPOINT [".venv/bin/python", "-m", "commands"]
CMD ["start"]
