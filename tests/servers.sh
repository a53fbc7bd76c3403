# Real servers for the tests, each a private instance on a free loopback port. Source this file, then:
#
#   start_postgres DIR        a fresh PostgreSQL under DIR; exports DAYBOOK_TEST_POSTGRES_URL, _CA and _DIR
#   restart_postgres DIR [MODE]   stop (fast, immediate) and start again, same data and port
#   stop_postgres DIR         stop for good
#   start_redis DIR           a fresh Redis under DIR that syncs before it answers; exports DAYBOOK_TEST_REDIS_URL
#   stop_redis DIR            stop for good
#
# A server has its data, log and pid in its DIR, so several run side by side. Every function returns non-zero and says
# why on standard error when it fails. Run as root, a server that refuses root runs as the user its package made.

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
        perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

# as_user USER COMMAND…: as that user when we are root, else as ourselves.
as_user() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then runuser -u "$user" -- "$@"; else "$@"; fi
}

postgres_bin() {
    local bin
    for bin in "${DAYBOOK_TEST_POSTGRES_BIN:-}" /usr/lib/postgresql/*/bin "$(dirname "$(command -v pg_ctl 2>/dev/null || echo /none/none)")"; do
        if [ -n "$bin" ] && [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ]; then
            echo "$bin"
            return
        fi
    done
    echo "no PostgreSQL server found: install the package postgresql, or set DAYBOOK_TEST_POSTGRES_BIN" >&2
    return 1
}

start_postgres() {
    local dir=$1 bin port ssl=off
    bin=$(postgres_bin) || return
    port=$(free_port) || return
    mkdir -p "$dir" || return
    # The server's user must be able to reach its folder.
    [ "$(id -u)" != 0 ] || chown postgres "$dir" || return
    chmod 755 "$dir"
    as_user postgres sh -c 'umask 077; echo daybook > "$1/password"' sh "$dir" || return
    as_user postgres "$bin/initdb" -D "$dir/data" -U daybook -A scram-sha-256 --pwfile="$dir/password" \
        -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; return 1; }
    if command -v openssl >/dev/null; then
        as_user postgres openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
            -keyout "$dir/data/server.key" -out "$dir/data/server.crt" >"$dir/openssl.log" 2>&1 &&
            as_user postgres chmod 600 "$dir/data/server.key" && ssl=on && cp "$dir/data/server.crt" "$dir/ca.pem"
    fi
    as_user postgres tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF || return
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
max_connections = 300
ssl = $ssl
CONF
    as_user postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 60 start >/dev/null ||
        { cat "$dir/data/server.log" >&2; return 1; }
    export DAYBOOK_TEST_POSTGRES_URL="postgres://daybook:daybook@127.0.0.1:$port/postgres"
    export DAYBOOK_TEST_POSTGRES_DIR="$dir"
    [ "$ssl" = off ] || export DAYBOOK_TEST_POSTGRES_CA="$dir/ca.pem"
}

restart_postgres() {
    local dir=$1 mode=${2:-fast} bin
    bin=$(postgres_bin) || return
    as_user postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -m "$mode" -w -t 60 restart >/dev/null
}

stop_postgres() {
    local dir=$1 bin
    bin=$(postgres_bin) || return
    as_user postgres "$bin/pg_ctl" -D "$dir/data" -m immediate -w -t 60 stop >/dev/null
}

start_redis() {
    local dir=$1 port tries
    command -v redis-server >/dev/null ||
        { echo "no Redis server found: install the package redis-server" >&2; return 1; }
    port=$(free_port) || return
    mkdir -p "$dir" || return
    redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --appendonly yes --appendfsync always --save '' \
        --daemonize yes --pidfile "$dir/pid" --logfile "$dir/server.log" || return
    for tries in $(seq 100); do
        if redis-cli -h 127.0.0.1 -p "$port" ping >/dev/null 2>&1; then
            export DAYBOOK_TEST_REDIS_URL="redis://127.0.0.1:$port/"
            return
        fi
        sleep 0.1
    done
    echo "Redis does not answer after $tries tries:" >&2
    cat "$dir/server.log" >&2
    return 1
}

stop_redis() {
    local dir=$1 pid
    [ -f "$dir/pid" ] || return 0
    pid=$(cat "$dir/pid")
    kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}
