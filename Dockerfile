# The command line in a container that is not root:
#   docker build -t protogen .
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" protogen check net.prototxt
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protogen protogen
COPY templates templates
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheel

FROM python:3.13-slim
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir "$(echo /wheel/*.whl)[picture,report]" && rm -r /wheel \
 && useradd --create-home --uid 1000 protogen
USER protogen
WORKDIR /work
ENTRYPOINT ["protogen"]
CMD ["--help"]
