# syntax=docker/dockerfile:1
# One static binary and nothing else.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t ghcr.io/security-profiles/spo-rs:v0.1.0 .

FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm AS build
ARG TARGETARCH
ARG GIT_COMMIT=unknown
ARG GIT_DATE=unknown
# The C compilers are for the cryptography; Rust brings a linker and musl itself.
RUN apt-get update \
 && apt-get install -y --no-install-recommends musl-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ENV SPO_GIT_COMMIT=$GIT_COMMIT SPO_GIT_DATE=$GIT_DATE \
    CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,id=target-$TARGETARCH \
    case "$TARGETARCH" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) echo "no $TARGETARCH" >&2; exit 1 ;; esac \
 && target=$machine-unknown-linux-musl \
 && rustup target add "$target" \
 && cargo build --locked --profile dist --package spo-operator --target "$target" \
 && install -D "target/$target/dist/spo-operator" /image/spo-operator

FROM scratch
LABEL org.opencontainers.image.title="spo-operator" \
      org.opencontainers.image.description="seccomp, AppArmor and SELinux profiles as Kubernetes resources" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/security-profiles/spo-rs"
COPY --from=build /image/spo-operator /spo-operator
USER 65535:65535
ENTRYPOINT ["/spo-operator"]
