# shellcheck shell=bash
# What the lessons share: one-address.sh, arp.sh, cache.sh, no-router.sh and tie.sh. Sourced, never run.
#
# A lesson runs in namespaces of its own, as root or as an ordinary user: its own network, its own
# /run, and its own process numbers. When its first process ends, however it does, the kernel ends all
# others, and with them the networks go. Nothing can stay behind and no two lessons can meet.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

hamp=${HAMP:-${CARGO_TARGET_DIR:-$repo/target}/debug/hamp}
hamp_lab=${HAMP_LAB:-${CARGO_TARGET_DIR:-$repo/target}/debug/hamp-lab}
state=/run/lesson # configuration and logs

# lesson NAME ARGUMENT...: moves into the namespaces, and keeps what is asked for.
lesson() {
    local script=$0 user=()
    asked=${1:-}
    case $asked in
        -h | --help)
            sed -n '2,/^set /s/^# \{0,1\}//p' "$script" | sed '$d'
            exit
            ;;
        '' | shell | describe) ;;
        *) die 2 "usage: $script [shell | describe]" ;;
    esac
    if [[ ${HAMP_LESSON:-} != inside ]]; then
        need ip=iproute2 unshare=util-linux nft=nftables curl=curl dig=bind9-dnsutils
        [[ -x $hamp && -x $hamp_lab ]] || die 69 "hamp is not built; run: cargo build"
        ((EUID == 0)) || user=(--user --map-root-user)
        unshare "${user[@]}" --net true 2>/dev/null ||
            die 77 "this machine lets $(id -un) make no namespaces; $hamp_lab check says why"
        # shellcheck disable=SC2016 # $@ is for the inner shell
        HAMP_LESSON=inside exec unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc \
            sh -c 'mount -t tmpfs run /run && exec "$@"' sh "$script" "$@"
    fi
    mkdir -p "$state"
    trap cleanup EXIT
    trap 'exit 130' INT TERM
}

# What is asked for by `describe` is the network alone, without the story.
step() { [[ $asked == describe ]] || printf '\n# %s\n' "$@"; }
run() {
    local shown=("$@")
    [[ $1 != on ]] || shown=(ip netns exec "${@:2}")
    [[ $asked == describe ]] || printf '$ %s\n' "${shown[*]/#$repo\//}"
    "$@"
}
# on HOST COMMAND...: runs the command in the host's network.
on() {
    local host=$1
    shift
    ip netns exec "$host" "$@"
}

# Programs first, then the namespaces they ran in.
cleanup() {
    local name file
    for file in "$state"/*.pid; do
        [[ ! -e $file ]] || kill "$(<"$file")" 2>/dev/null || true
    done
    for name in $(ip netns list | cut -d' ' -f1); do ip netns del "$name"; done
}

# switch NAME: a bridge in a network namespace of its own, so that it is nobody's interface.
switch() {
    run ip netns add "$1"
    run ip -n "$1" link add br0 type bridge
    run ip -n "$1" link set br0 up
}

# host NAME NUMBER MAC: a network namespace with a cable to the switch lan. A cable is a pair of
# interfaces: what goes in at one end comes out at the other. The MAC address is set so that one
# recognises it; `nodad`, or the kernel would wait a second before it uses an IPv6 address.
host() {
    run ip netns add "$1"
    run ip -n "$1" link set lo up
    run ip -n lan link add "$1" type veth peer name eth0 address "$3" netns "$1"
    run ip -n lan link set "$1" master br0 up
    run ip -n "$1" link set eth0 up
    run ip -n "$1" address add "10.15.46.$2/24" dev eth0
    run ip -n "$1" address add "fd15:46::$2/64" dev eth0 nodad
}

# start HOST NAME COMMAND...: a program that stays.
start() {
    local host=$1 name=$2
    shift 2
    [[ $asked != describe ]] || return 0 # what runs may change routes
    printf '$ ip netns exec %s %s &\n' "$host" "${*/#$repo\//}"
    ip netns exec "$host" "$@" >"$state/$host.$name.log" 2>&1 </dev/null &
    echo $! >"$state/$host.$name.pid"
    disown # or the shell reports what is killed on purpose
}

# serve HOST: a server that knows nothing of anycast and answers its host's name.
serve() { start "$1" who "$hamp_lab" who --name "$1"; }

# run_hamp HOST <CONFIGURATION: the daemon, with what it is told.
run_hamp() {
    { printf '[node]\nname = "%s"\ninterfaces = ["eth0"]\n' "$1" && cat; } >"$state/$1.toml"
    [[ $asked == describe ]] || sed "s/^/      /" "$state/$1.toml"
    start "$1" hamp "$hamp" run --config "$state/$1.toml"
}

# kill_all HOST: the daemon and the server at once, unasked.
kill_all() {
    local file
    for file in "$state/$1".*.pid; do kill -9 "$(<"$file")"; done
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

# ask HOST ADDRESS: who answers over HTTP; nothing if nobody does.
ask() { on "$1" curl --silent --max-time 1 "http://$2/" || true; }
# dns HOST ADDRESS: who answers one UDP datagram.
dns() { on "$1" dig +short +time=1 +tries=1 "@$2" whoami.test TXT 2>/dev/null | sed -n 's/^"\(.*\)"$/\1/p' || true; }
answers() { [[ $("$1" "$2" "$3") == "$4" ]]; }
answered() { [[ -n $(dns "$1" "$2") ]]; }

# knows HOST COUNT: whether the host hears so many other members that serve something.
knows() {
    [[ $(on "$1" "$hamp" members | awk '$4 ~ /^02:00:/ && NF >= 10' | wc -l) == "$2" ]]
}

# owned_by ADDRESS UNICAST: whether client has heard that the member with this address is rank 1.
owned_by() {
    on client "$hamp" members | awk -v address="$1" -v unicast="$2" '
        $5 == unicast { member = $3 }
        $2 == address { owner = $3 }
        END { exit owner == "" || owner != member }'
}

# built: the network stands; describe ends here.
built() {
    if [[ $asked == describe ]]; then
        describe
        exit
    fi
}

# finished: the story is over; shell begins here.
finished() {
    [[ $asked == shell ]] || return 0
    step "A shell on $1; the others are reached with: ip netns exec HOST COMMAND. To end: exit"
    trap : INT
    on "$1" env PATH="$(dirname "$hamp"):$PATH" PS1="$1# " bash --norc -i || true
}

# describe: what stands, a fact a line, to be compared with a topology file.
describe() {
    local name
    for name in $(ip -n lan -o link show master br0 | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | sort); do
        printf '%s mac %s\n' "$name" "$(on "$name" cat /sys/class/net/eth0/address)"
        ip -n "$name" -o address show dev eth0 scope global |
            awk -v name="$name" '{ print name, "address", $4 }'
        { ip -n "$name" -4 route && ip -n "$name" -6 route; } |
            awk -v name="$name" '!/proto kernel|^fe80|^multicast/ { print name, "route", $1, $3 }'
        [[ ! -e $state/$name.toml ]] || sed "s/^/$name hamp /" "$state/$name.toml"
    done
}
