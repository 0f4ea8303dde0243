# A raftcached node as a container image.
#
#   docker build -t raftcached .
#   docker run -p 127.0.0.1:11211:11211 raftcached          one node, a memcached on 11211
#   docker-compose up -d                                    three nodes that form a cluster
#
# Only instructions that every builder knows are used (no RUN --mount), so that the engine and the
# docker-compose of a Debian stable can build it. tests/docker/run.sh does.

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
# "dev" is built in half the time.
ARG PROFILE=release
# The image's own target folder: a CARGO_TARGET_DIR of the builder must not move the binary.
RUN cargo build --profile $PROFILE --locked --package raftcached --bin raftcached \
        --target-dir /build \
    && mv /build/*/raftcached /usr/local/bin/

FROM debian:bookworm-slim
# A fixed number, so that an orchestrator can check "not root" without reading /etc/passwd.
RUN groupadd --system --gid 11211 raftcached \
    && useradd --uid 11211 --gid 11211 --no-log-init --home-dir /nonexistent \
        --shell /usr/sbin/nologin raftcached
COPY --from=builder /usr/local/bin/raftcached /usr/local/bin/raftcached
USER 11211:11211

# Clients, peers, admin HTTP. The last two are not for the outside world.
EXPOSE 11211 21211 31211

# Exec form: the image has no need of a shell, and the binary asks its own /readyz. A node answers
# ready only once it has caught up with the cluster.
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["raftcached", "health"]

# The binary is process 1: SIGTERM reaches it and starts its orderly stop (leadership moves first).
ENTRYPOINT ["raftcached"]
# raftcached listens on loopback unless told otherwise. A container's loopback reaches nobody, so
# the image says the wider address for its operator, also where memcached's options are all that it is
# given; which of it is seen outside, `-p` decides.
ENV RAFTCACHED_LISTEN=0.0.0.0
CMD ["server"]
