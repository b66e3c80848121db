# Two stages: a static binary, then nothing but that binary and the certificate authorities. No shell.
#
#   docker build -t tidegate --build-arg TIDEGATE_COMMIT="$(git rev-parse --short=12 HEAD)" .
#   docker run -p 8080:8080 -v "$PWD/tidegate.yaml:/etc/tidegate/tidegate.yaml:ro" -e OPENAI_API_KEY tidegate

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# The versions are the base image's release; make is jemalloc's only wish beyond it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# The repository is not copied: `gateway_build_info` shows what stands here.
ARG TIDEGATE_COMMIT=
# With an explicit target the flag holds for the binary alone, not for build scripts.
RUN host="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package tidegate --target "$host" \
    && mkdir --parents /out/etc/ssl/certs /out/etc/tidegate /out/usr/bin \
    && cp "target/$host/release/tidegate" /out/usr/bin/ \
    && strip --strip-all /out/usr/bin/tidegate \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch
COPY --from=build /out /
USER 65532:65532
EXPOSE 8080
# With another `admin.listen` than 127.0.0.1:9090, `tidegate health` is to be given its address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/bin/tidegate", "health"]
ENTRYPOINT ["/usr/bin/tidegate"]
CMD ["run", "--config", "/etc/tidegate/tidegate.yaml"]
