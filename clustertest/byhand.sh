#!/bin/sh
# What pgswarm does for a three-instance database, done by hand: the other side of the benchmark.
#
#   clustertest/byhand.sh [up]     network, secrets, services; waits for a writable primary and both replicas
#   clustertest/byhand.sh create   the same without waiting; says when it began, in nanoseconds since 1970
#   clustertest/byhand.sh down     takes it all away, data included
#
# Wants a lab that is up. NAME is the database (default byhand), IMAGE what it runs, CPUS and MEMORY what an
# instance may use.
set -eu

repo=$(cd "$(dirname "$0")/.." && pwd)
name=${NAME:-byhand}
image=${IMAGE:-pgswarm/postgres:17}
limit_s=${LIMIT_S:-90}
eval "$(cd "$repo" && python3 -m clustertest.lab env)"

on() { # on NUMBER docker-arguments...: the engine of one host
    eval "engine=\$DOCKER_HOST_$1"
    shift
    docker -H "$engine" "$@"
}
container() { on "$1" ps -q --filter "label=com.docker.swarm.service.name=$name-$1" | head -1; }
sql() { # sql NUMBER STATEMENT: on one instance, as the superuser, over its own socket
    id=$(container "$1")
    [ -n "$id" ] && on "$1" exec "$id" psql -XAtq -d postgres -c "$2" 2>/dev/null
}
now() { date +%s%N; }
say() { # say TEXT: with the seconds since the first command
    ms=$((($(now) - began) / 1000000))
    printf '%3d.%03ds  %s\n' $((ms / 1000)) $((ms % 1000)) "$1"
}
until_true() { # until_true WHAT COMMAND...: asks five times a second, gives up after limit_s
    what=$1
    shift
    deadline=$(($(now) + limit_s * 1000000000))
    until "$@"; do
        if [ "$(now)" -gt "$deadline" ]; then
            echo "byhand: no $what after $limit_s s; see: docker -H \$DOCKER_HOST_1 service logs $name-1" >&2
            exit 1
        fi
        sleep 0.2
    done
}

down() {
    for n in 1 2 3; do on 1 service rm "$name-$n" >/dev/null 2>&1 || true; done
    for n in 1 2 3; do
        for _ in $(seq 100); do
            [ -z "$(on "$n" ps -aq --filter "label=com.docker.swarm.service.name=$name-$n")" ] && break
            sleep 0.2
        done
        on "$n" volume rm -f "$name-$n" >/dev/null
        on 1 secret rm "$name-$n" "$name-$n-server" >/dev/null 2>&1 || true
        etcdctl user delete "$name-$n" >/dev/null 2>&1 || true
    done
    on 1 config rm "$name-ca" >/dev/null 2>&1 || true
    on 1 network rm "$name" >/dev/null 2>&1 || true
    etcdctl del --prefix "/patroni/$name/" >/dev/null
    etcdctl role delete "$name" >/dev/null 2>&1 || true
}

patroni_yml() { # patroni_yml NUMBER: one instance's configuration
    cat <<EOF
scope: $name
namespace: /patroni/
name: $name-$1
restapi:
  listen: 0.0.0.0:8008
  connect_address: $name-$1:8008
  certfile: /run/secrets/server.pem
  keyfile: /run/secrets/server.pem
  authentication: {username: patroni, password: $rest}
ctl: {cacert: /etc/pgswarm/ca.pem}
etcd3:
  hosts: [$HOST_ADDR_1:2379, $HOST_ADDR_2:2379, $HOST_ADDR_3:2379]
  username: $name-$1
  password: $etcd
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    maximum_lag_on_failover: 1048576
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {max_connections: 100, shared_buffers: 128MB, wal_level: logical, wal_log_hints: 'on', password_encryption: scram-sha-256}
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, data-checksums]
  post_bootstrap: psql -XAtq -v ON_ERROR_STOP=1 -c "create role app login password '$app'" -c "create database app owner app" -d
postgresql:
  listen: 0.0.0.0:5432
  connect_address: $name-$1:5432
  data_dir: /var/lib/pgswarm/pgdata
  basebackup: [{checkpoint: fast}]
  pgpass: /tmp/pgpass
  parameters: {unix_socket_directories: /var/run/postgresql, ssl: 'on', ssl_cert_file: /run/secrets/server.pem, ssl_key_file: /run/secrets/server.pem}
  authentication:
    superuser: {username: postgres, password: $super, $verify}
    replication: {username: replicator, password: $replication, $verify}
    rewind: {username: rewinder, password: $rewind, $verify}
  pg_hba:
  - local all postgres peer
  - hostssl replication replicator all scram-sha-256
  - hostssl all all all scram-sha-256
EOF
}

certificate() { # certificate NUMBER: of one instance, signed by the database's own authority
    at=$tls/$1
    echo "subjectAltName=DNS:$name-$1,DNS:localhost" >"$at.ext"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name-$1" -keyout "$at.key" -out "$at.csr" 2>/dev/null
    openssl x509 -req -in "$at.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAserial "$at.srl" -CAcreateserial -days 825 \
        -extfile "$at.ext" -out "$at.pem" 2>/dev/null
    cat "$at.pem" "$at.key" | on 1 secret create "$name-$1-server" - >/dev/null
}

login() { # login NUMBER: an etcd user for one instance
    echo "$etcd" | etcdctl user add "$name-$1" --interactive=false >/dev/null
    etcdctl user grant-role "$name-$1" "$name" >/dev/null
}

create() { # create NUMBER: login, certificate, secret and service of one instance
    login "$1"
    certificate "$1"
    patroni_yml "$1" | on 1 secret create "$name-$1" - >/dev/null
    on 1 service create --quiet --detach --no-resolve-image --name "$name-$1" --hostname "$name-$1" \
        --constraint "node.hostname==host-$1" --endpoint-mode dnsrr \
        --network "$name" --network bridge \
        --mount "type=volume,source=$name-$1,target=/var/lib/pgswarm" \
        --secret "source=$name-$1,target=patroni.yml,uid=999,gid=999,mode=0400" \
        --secret "source=$name-$1-server,target=server.pem,uid=999,gid=999,mode=0400" \
        --config "source=$name-ca,target=/etc/pgswarm/ca.pem" \
        --publish "mode=host,published=${PORT:-6448},target=5432" \
        --cap-drop ALL --limit-cpu "${CPUS:-1}" --limit-memory "${MEMORY:-512M}" --stop-grace-period 60s --restart-delay 1s \
        "$image" >/dev/null
}

writable() {
    for n in 1 2 3; do
        if sql "$n" 'create table if not exists probe (at timestamptz); insert into probe values (now())'; then
            primary=$n
            return 0
        fi
    done
    return 1
}
# A base backup streams too, under its own name: only instances count.
streaming() {
    [ "$(sql "$primary" "select count(*) from pg_stat_replication where state = 'streaming' and application_name like '$name-%'")" = 2 ]
}

make() {
    super=$(openssl rand -hex 16) replication=$(openssl rand -hex 16) rewind=$(openssl rand -hex 16)
    rest=$(openssl rand -hex 16) etcd=$(openssl rand -hex 16) app=$(openssl rand -hex 16)
    verify="sslmode: verify-full, sslrootcert: /etc/pgswarm/ca.pem"
    tls=$(mktemp -d)
    trap 'rm -rf "$tls"' EXIT
    began=$(now)
    echo "began $began"
    etcdctl role add "$name" >/dev/null
    etcdctl role grant-permission "$name" readwrite --prefix "/patroni/$name/" >/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$name" \
        -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
    on 1 config create "$name-ca" "$tls/ca.pem" >/dev/null
    on 1 network create --driver overlay --subnet "${SUBNET:-10.128.0.0/24}" "$name" >/dev/null
    say "etcd role, authority and network"
    create 1 & one=$!
    create 2 & two=$!
    create 3 & three=$!
    wait "$one" && wait "$two" && wait "$three"
    say "services created"
}

up() {
    make
    until_true "writable primary" writable
    say "primary writable: $name-$primary"
    until_true "streaming replicas" streaming
    say "both replicas stream"
}

case ${1:-up} in
up) up ;;
create) make ;;
down) down ;;
*) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
