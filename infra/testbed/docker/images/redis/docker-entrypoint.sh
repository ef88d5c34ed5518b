#!/bin/sh
# Becomes the server, which answers other containers without a password, as the official image does.
set -eu
if [ "$1" != redis-server ]; then
    exec "$@"
fi
chown redis:redis /data
exec setpriv --reuid=redis --regid=redis --init-groups "$@" --protected-mode no
