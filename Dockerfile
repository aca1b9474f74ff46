# Two images from one Debian base: `postgres` (one instance) and `controlplane` (pgswarm itself).
# images/build.py makes the base without a registry and builds both; certificate authorities of the
# site go into images/ca/*.crt.
ARG BASE=pgswarm/base:trixie

# --- postgres: built with everything apt brings, then copied flat without what an instance never reads ---
FROM ${BASE} AS postgres-build
ARG PG_MAJOR=17
# More lines for apt.conf, for an archive that needs them; PGSWARM_APT_CONF of images/build.py.
ARG APT_CONF=
ENV DEBIAN_FRONTEND=noninteractive
COPY images/ca/ /usr/local/share/ca-certificates/
RUN set -eu; \
    groupadd -r -g 999 postgres; \
    useradd -r -u 999 -g 999 -d /var/lib/postgresql -s /bin/sh postgres; \
    printf 'path-exclude=/usr/share/%s/*\n' doc man info lintian linda > /etc/dpkg/dpkg.cfg.d/no-docs; \
    printf 'APT::Install-Recommends "false";\nAPT::Install-Suggests "false";\n' > /etc/apt/apt.conf.d/99small; \
    printf '%s\n' "${APT_CONF}" > /etc/apt/apt.conf.d/99site; \
    apt-get update -qq; \
    apt-get install -y -qq ca-certificates locales postgresql-common; \
    update-ca-certificates; \
    localedef -i en_US -f UTF-8 en_US.UTF-8; \
    sed -ri 's/#?(create_main_cluster) .*/\1 = false/' /etc/postgresql-common/createcluster.conf; \
    apt-get install -y -qq \
        "postgresql-${PG_MAJOR}" "postgresql-${PG_MAJOR}-pglogical" \
        patroni python3-etcd pgbackrest tini util-linux; \
    apt-get upgrade -y -qq; \
    rm /etc/apt/apt.conf.d/99site
COPY images/postgres/ /usr/local/lib/pgswarm/
RUN set -eu; \
    install -d -o 999 -g 999 -m 0700 /var/lib/pgswarm; \
    install -d -o 999 -g 999 -m 0755 /run/postgresql /var/lib/postgresql /var/log/pgbackrest /var/lib/pgbackrest /var/spool/pgbackrest; \
    chown -R 999:999 /etc/pgbackrest* 2>/dev/null || true; \
    # Patroni's copies are marked until they are whole: images/postgres/birth.
    mv "/usr/lib/postgresql/${PG_MAJOR}/bin/pg_basebackup" "/usr/lib/postgresql/${PG_MAJOR}/bin/pg_basebackup.real"; \
    ln -s /usr/local/lib/pgswarm/pg_basebackup "/usr/lib/postgresql/${PG_MAJOR}/bin/pg_basebackup"; \
    ln -s /usr/local/lib/pgswarm/patroni /usr/local/bin/patroni; \
    # JIT pays on queries of minutes only and costs LLVM: 150 MB of the image.
    pg="/usr/lib/postgresql/${PG_MAJOR}"; \
    rm -rf "$pg"/lib/llvmjit* "$pg"/lib/bitcode "$pg"/lib/pgxs /usr/lib/llvm-*; \
    find /usr/lib -name 'libLLVM*' -delete; \
    find /usr/lib -name 'libz3.so*' -delete; \
    # Perl serves Debian's cluster wrappers, which an instance does not use; perl-base stays for dpkg.
    rm -rf /usr/share/perl /usr/share/perl5 /usr/lib/*-linux-gnu/perl /usr/lib/*-linux-gnu/libperl.so*; \
    # Documentation, translations, sources of locales, package lists, caches.
    rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/i18n /usr/share/locale /usr/share/lintian \
        /usr/share/postgresql/"${PG_MAJOR}"/man /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/*; \
    rm -rf /usr/lib/python3*/test /usr/lib/python3*/idlelib /usr/lib/python3*/ensurepip /usr/lib/python3*/lib2to3; \
    install -d -o 999 -g 999 /var/log/pgbackrest; \
    # Nothing here may gain privileges, so nothing needs the bit.
    find / -xdev -perm /6000 -type f -exec chmod a-s {} +

FROM scratch AS postgres
ARG PG_MAJOR=17
ARG VERSION=0
COPY --from=postgres-build / /
ENV PATH=/usr/lib/postgresql/${PG_MAJOR}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PGDATA=/var/lib/pgswarm/pgdata \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="pgswarm postgres" \
      org.opencontainers.image.description="One Postgres instance under Patroni, for pgswarm" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      dev.pgswarm.postgres.major="${PG_MAJOR}"
USER 999:999
WORKDIR /var/lib/pgswarm
EXPOSE 5432 8008
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=1s --timeout=20s --start-period=60s --retries=5 CMD ["/usr/local/lib/pgswarm/healthcheck"]
ENTRYPOINT ["/usr/local/lib/pgswarm/entrypoint"]

# --- controlplane: a venv from hashed requirements, copied onto the same base ---
FROM ${BASE} AS controlplane-base
ARG APT_CONF=
ENV DEBIAN_FRONTEND=noninteractive
COPY images/ca/ /usr/local/share/ca-certificates/
RUN set -eu; \
    printf 'path-exclude=/usr/share/%s/*\n' doc man info lintian linda > /etc/dpkg/dpkg.cfg.d/no-docs; \
    printf '%s\n' "${APT_CONF}" > /etc/apt/apt.conf.d/99site; \
    apt-get update -qq; \
    apt-get install -y -qq --no-install-recommends ca-certificates python3 tini; \
    update-ca-certificates; \
    rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM controlplane-base AS controlplane-build
ENV DEBIAN_FRONTEND=noninteractive PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv \
 && python3 -m venv /opt/pgswarm && python3 -m venv /opt/build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN /opt/pgswarm/bin/pip install --no-cache-dir -q --require-hashes -r requirements.lock \
 && /opt/build/bin/pip install --no-cache-dir -q --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY crds/ crds/
COPY reconcilers/ reconcilers/
COPY controlplane/ controlplane/
# What builds the package is hashed as well, and stays out of what it is installed into.
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w /wheels . \
 && /opt/pgswarm/bin/pip install --no-cache-dir -q --no-deps --no-index /wheels/*.whl \
 && rm -rf /opt/pgswarm/lib/python3*/site-packages/pip /opt/pgswarm/lib/python3*/site-packages/pip-*

FROM controlplane-base AS controlplane
ARG VERSION=0
COPY --from=controlplane-build /opt/pgswarm /opt/pgswarm
ENV PATH=/opt/pgswarm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="pgswarm controlplane" \
      org.opencontainers.image.description="Postgres on Docker Swarm, declared in etcd and kept as declared" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "pgswarm"]
CMD ["run"]
