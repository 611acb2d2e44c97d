# Proximo in a container. NOT BUILT IN CI: what is tested is the set-up in README.md on Linux.
#   docker build -t proximo .
#   docker run --rm -v "$PWD/runs:/project/runs" proximo train CartPole-v1
# With a GPU add `--gpus all` to `docker run`.
FROM python:3.11-slim

# libegl1 and libgl1 render MuJoCo without a display; git is for the commit in a run's provenance.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libegl1 libgl1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/proximo
COPY pyproject.toml setup.py README.md LICENSE constraints.txt ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[all]'

WORKDIR /project
ENV MUJOCO_GL=egl
ENTRYPOINT ["proximo"]
CMD ["--help"]
