#!/bin/sh
# Makes the server's data where there is none, then becomes the server, as the official image does.
set -eu
as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups"
if [ "$1" != postgres ]; then
    exec "$@"
fi
mkdir -p "$PGDATA" /var/run/postgresql
chown postgres:postgres "$PGDATA" /var/run/postgresql
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" >"$password"
    chown postgres "$password"
    # shellcheck disable=SC2086 - several arguments each
    $as_postgres initdb --pgdata="$PGDATA" --username="${POSTGRES_USER:-postgres}" \
        --pwfile="$password" --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
    rm "$password"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
# shellcheck disable=SC2086 - the same
exec $as_postgres "$@"
