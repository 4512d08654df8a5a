#!/usr/bin/env bash
# The first link by hand: what `hamp-lab run first-link` builds, in commands you can type.
#
#        one          two         three        client        198.18.0.1 and 2001:2:0:1546::1
#     10.15.46.1   10.15.46.2   10.15.46.3   10.15.46.100    are served by one, two and three
#         |            |            |            |
#     ----+------------+------------+------------+----       a bridge in a namespace of its own
#
# Each host is a network namespace, each cable a veth pair. One, two and three run `hamp` as members
# with a web server that says its name; client runs `hamp` as client and curl.
#
#   netns-scripts/first-link.sh up         builds it and leaves it; `hamp` must be built
#   netns-scripts/first-link.sh try        asks 10 times, over both families
#   netns-scripts/first-link.sh in HOST COMMAND...
#   netns-scripts/first-link.sh down       takes everything away
#   netns-scripts/first-link.sh            up, try, kill one member, try again, down
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix=${HAMP_FIRST_LINK:-first-link}   # namespaces are named $prefix-one, ...
state=/run/hamp-$prefix                 # configuration, logs and process ids
hamp=${HAMP:-${CARGO_TARGET_DIR:-$repo/target}/debug/hamp}
anycast4=198.18.0.1 anycast6=2001:2:0:1546::1
hosts=(one two three client)

# in_host HOST COMMAND...: runs the command in the host's network.
in_host() {
    local host=$1
    shift
    ip netns exec "$prefix-$host" "$@"
}

# until_true SECONDS WHAT COMMAND...: waits for the command to succeed.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            tail -n 3 "$state"/*.log >&2
            die 1 "waited in vain for $what"
        fi
        sleep 0.05
    done
}

# service HOST NAME COMMAND...: runs the command in the background, its output in the state directory.
service() {
    local host=$1 name=$2
    shift 2
    ip netns exec "$prefix-$host" "$@" >"$state/$host.$name.log" 2>&1 </dev/null &
    echo $! >"$state/$host.$name.pid"
    disown # or the shell reports what is killed on purpose
}

# stop FILE SIGNAL: sends the signal to the process named in the file, and waits for its end.
stop() {
    local pid
    pid=$(<"$1")
    kill "-$2" "$pid" 2>/dev/null || true
    until_true 5 "the end of $1" eval "! kill -0 $pid"
    rm -f "$1"
}

build_link() {
    [[ ! -e /run/netns/$prefix-switch ]] || die 1 "the link is up already; to take it away: $0 down"
    mkdir -p "$state"
    ip netns add "$prefix-switch"
    ip -n "$prefix-switch" link add switch type bridge
    ip -n "$prefix-switch" link set switch up

    local number host
    for host in "${hosts[@]}"; do
        case $host in one) number=1 ;; two) number=2 ;; three) number=3 ;; client) number=100 ;; esac
        ip netns add "$prefix-$host"
        ip -n "$prefix-$host" link set lo up
        # The cable: one end is the host's eth0, the other a port of the switch.
        ip -n "$prefix-switch" link add "$host" type veth peer name eth0 netns "$prefix-$host"
        ip -n "$prefix-switch" link set "$host" master switch up
        ip -n "$prefix-$host" link set eth0 up
        ip -n "$prefix-$host" address add "10.15.46.$number/24" dev eth0
        ip -n "$prefix-$host" address add "fd15:46::$number/64" dev eth0 nodad
    done
}

start_member() {
    local host=$1
    cat >"$state/$host.toml" <<-END
	[node]
	name = "$host"
	interfaces = ["eth0"]
	[member]
	addresses = ["$anycast4", "$anycast6"]
	END
    # The server knows nothing of anycast: it listens on every address of its host.
    mkdir -p "$state/$host.www"
    echo "I am $host" >"$state/$host.www/index.html"
    cat >"$state/$host.nginx" <<-END
	user root; daemon off; master_process off; error_log stderr; pid $state/$host.nginx.own;
	events {}
	http {
	    access_log off; client_body_temp_path $state; proxy_temp_path $state;
	    fastcgi_temp_path $state; uwsgi_temp_path $state; scgi_temp_path $state;
	    server { listen 80; listen [::]:80; root $state/$host.www; }
	}
	END
    service "$host" web nginx -e stderr -c "$state/$host.nginx"
    service "$host" hamp "$hamp" run --config "$state/$host.toml"
}

start_client() {
    cat >"$state/client.toml" <<-END
	[node]
	name = "client"
	interfaces = ["eth0"]
	[client]
	enabled = true
	END
    service client hamp "$hamp" run --config "$state/client.toml"
}

ask() { in_host client curl --silent --show-error --max-time 5 "http://$1/"; }

up() {
    build_link
    local host
    for host in one two three; do start_member "$host"; done
    start_client
    for host in "${hosts[@]}"; do
        until_true 10 "$host's daemon" in_host "$host" "$hamp" status
    done
    until_true 10 'an answer over IPv4' ask "$anycast4"
    until_true 10 'an answer over IPv6' ask "[$anycast6]"
    say "up; look with: $0 in client $hamp members"
}

try() {
    local url
    for url in "$anycast4" "[$anycast6]"; do
        printf '%s:\n' "http://$url/"
        for _ in {1..10}; do ask "$url"; done | sort | uniq -c
    done
}

# kill_answerer: kill -9 for the daemon and the server of the member that answers now.
kill_answerer() {
    local host
    host=$(ask "$anycast4")
    host=${host#I am }
    say "kill -9 of $host's daemon and web server"
    stop "$state/$host.hamp.pid" KILL
    stop "$state/$host.web.pid" KILL
    until_true 10 'another member' eval "ask $anycast4 | grep -v ' $host\$'"
    until_true 10 'another member' eval "ask '[$anycast6]' | grep -v ' $host\$'"
}

down() {
    local file host
    for file in "$state"/*.pid; do
        [[ ! -e $file ]] || stop "$file" TERM
    done
    for host in "${hosts[@]}" switch; do
        [[ ! -e /run/netns/$prefix-$host ]] || ip netns del "$prefix-$host"
    done
    rm -rf "$state"
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
fi
if ((EUID != 0)); then
    # An ordinary user is root of a user namespace, for as long as this one command runs.
    (($# == 0)) || die 77 "only root can leave a link behind; without root, run $0 with no arguments"
    # shellcheck disable=SC2016 # $1 is for the inner shell
    exec unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc \
        sh -c 'mount -t tmpfs run /run && exec "$1"' sh "$0"
fi
need ip=iproute2 nginx=nginx-light curl=curl
[[ -x $hamp ]] || die 69 "$hamp is not built; run: cargo build"

case ${1:-all} in
    up) up ;;
    try) try ;;
    in)
        (($# > 2)) || die 2 "usage: $0 in HOST COMMAND...; the hosts are ${hosts[*]}"
        shift
        [[ -e /run/netns/$prefix-$1 ]] || die 1 "no host $1 is up; to build the link: $0 up"
        in_host "$@"
        ;;
    down) down ;;
    all)
        trap down EXIT
        up
        try
        kill_answerer
        try
        ;;
    *) die 2 "usage: $0 [up | try | in HOST COMMAND... | down]" ;;
esac
