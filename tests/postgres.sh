#!/bin/sh
# Runs a command with a PostgreSQL cluster to test on: the one that WRIT_TEST_POSTGRES names, or a throw-away one that is
# reached over a Unix socket only and gone afterwards.
#
#   sh tests/postgres.sh COMMAND…   runs it, with WRIT_TEST_STORE=postgres where the tests are to use it for all they do
#   sh tests/postgres.sh --told [--on-disk]   says where the cluster is, and does as it is told on its standard input: stop, kill, start, standby, failover

set -eu
cd "$(dirname "$0")/.."
repository=$PWD

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Where Debian and others keep the server's programs.
programs() {
    for dir in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin; do
        [ -x "$dir/initdb" ] && found=$dir
    done
    [ -n "${found:-}" ] || fail "PostgreSQL is missing: on Debian 'apt install postgresql'"
    printf '%s' "$found"
}

# PostgreSQL does not run as root.
unprivileged() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

[ "$1" = --told ] || [ -z "${WRIT_TEST_POSTGRES:-}" ] || exec "$@"

bin=$(programs)
# In memory where there is much of it: each test has a database of 8 MB, and waits for what is safe on disk.
in_memory() { [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'END { print $4 }')" -gt 8000000 ]; }
# Short, because a socket's path may have about 100 bytes only; and nobody else gets in.
home=${TMPDIR:-/tmp}
[ "${2:-}" = --on-disk ] || ! in_memory || home=/dev/shm
home=$(mktemp -d "$home/writ-postgres.XXXXXX")
[ "$(id -u)" != 0 ] || chown postgres "$home"
stop() {
    for data in "$home/data" "$home/standby"; do
        unprivileged "$bin/pg_ctl" --silent --pgdata="$data" --mode=immediate stop 2>/dev/null || true
    done
    rm -rf "$home"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$home"
unprivileged "$bin/initdb" --pgdata="$home/data" --username=writ --auth=trust --encoding=UTF8 --no-locale --no-sync >"$home/initdb.log" 2>&1 ||
    { cat "$home/initdb.log" >&2; fail "initdb failed"; }
cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$home'
max_connections = 300
max_wal_size = 4GB
autovacuum_naptime = 10min
CONF
chown --reference="$home/data" "$home/data/postgresql.conf" 2>/dev/null || true
start() {
    unprivileged "$bin/pg_ctl" --silent --wait --pgdata="$home/data" --log="$home/log" start >/dev/null ||
        { cat "$home/log" >&2; fail "PostgreSQL does not start"; }
}
start

sql() { unprivileged "$bin/psql" --no-psqlrc --quiet --tuples-only --no-align --host="$home" --username=writ --dbname=postgres --command="$1"; }
# Another server that has everything before a commit is answered.
standby() {
    unprivileged "$bin/pg_basebackup" --host="$home" --username=writ --pgdata="$home/standby" --write-recovery-conf --checkpoint=fast
    echo 'port = 5433' >>"$home/standby/postgresql.conf"
    unprivileged "$bin/pg_ctl" --silent --wait --pgdata="$home/standby" --log="$home/standby.log" start >/dev/null
    sql "ALTER SYSTEM SET synchronous_standby_names = '*'"
    sql 'SELECT pg_reload_conf()' >/dev/null
    until [ "$(sql 'SELECT sync_state FROM pg_stat_replication')" = sync ]; do sleep 0.1; done
}
# All of its processes at once, which nobody has told. Held first, it makes none meanwhile.
crash() {
    postmaster=$(head -n 1 "$home/data/postmaster.pid")
    kill -STOP "$postmaster"
    children=$(cat "/proc/$postmaster/task/$postmaster/children" 2>/dev/null || pgrep -P "$postmaster")
    # shellcheck disable=SC2086 # each is a process
    kill -KILL "$postmaster" $children
    # What nobody has waited for looks as if it ran.
    rm "$home/data/postmaster.pid" "$home/.s.PGSQL.5432.lock"
}
# The first one crashes, and the other takes its place and address.
failover() {
    crash
    mv "$home/data" "$home/crashed"
    unprivileged "$bin/pg_ctl" --silent --wait --pgdata="$home/standby" promote >/dev/null
    mv "$home/standby" "$home/data"
    ln -sf .s.PGSQL.5433 "$home/.s.PGSQL.5432"
}

WRIT_TEST_POSTGRES="postgres://writ@$(printf '%s' "$home" | sed 's|/|%2F|g')/postgres"
export WRIT_TEST_POSTGRES
if [ "$1" = --told ]; then
    echo "$WRIT_TEST_POSTGRES"
    while read -r told; do
        case $told in
            kill) crash ;;
            stop) unprivileged "$bin/pg_ctl" --silent --wait --pgdata="$home/data" --mode=fast stop >/dev/null ;;
            start) start ;;
            standby) standby ;;
            failover) failover ;;
            *) fail "it can be told to stop, kill, start, standby and failover, not to '$told'" ;;
        esac
        echo "$told"
    done
else
    cd "$repository"
    "$@"
fi
