# shellcheck shell=bash disable=SC2034,SC2016
# What demo.sh, test.sh, first-link.sh and .ci/run share: where the checkout is, which packages are
# missing, and a cargo that is new enough. Sourced, never run.
#
# Exit codes are those of `hamp`: 69 a program is missing, 77 a privilege is missing.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo" || exit 69

# Root may test a checkout that is somebody else's: git would not list its files.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$repo

# nft, ip and the servers live in sbin, which Debian leaves out of an ordinary user's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# program=package, as Debian 12 names them.
BUILD_PROGRAMS=(cc=gcc ld=binutils /usr/include/stdio.h=libc6-dev)
LAB_PROGRAMS=(
    ip=iproute2 bridge=iproute2 nft=nftables ping=iputils-ping unshare=util-linux
    tcpdump=tcpdump curl=curl dig=bind9-dnsutils nginx=nginx-light named=bind9
    ssh=openssh-client ssh-keygen=openssh-client sshd=openssh-server
    bird=bird2 vtysh=frr
)

say() { printf '%s\n' "$*" >&2; }

# die CODE LINE...: prints the lines and ends with the code.
die() {
    local code=$1
    shift
    printf '%s\n' "$@" >&2
    exit "$code"
}

# present NAME: a program in PATH, or a file when the name is a path.
present() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Runs as root. The labs start servers of their own, so no service comes up when its package does.
install_script='
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap "rm -f $policy" EXIT
        printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get install -y --no-install-recommends "$@"
'

# need PROGRAM=PACKAGE...: installs the packages of those programs that are missing, and only those.
need() {
    local pair name package programs=() packages=() as_root=()
    for pair in "$@"; do
        name=${pair%%=*} package=${pair#*=}
        present "$name" && continue
        programs+=("$name")
        [[ " ${packages[*]} " == *" $package "* ]] || packages+=("$package")
    done
    ((${#packages[@]})) || return 0

    command -v apt-get >/dev/null || die 69 "missing: ${programs[*]}" \
        "Debian 12 has them in these packages: ${packages[*]}"
    local remedy=("as root, run:"
        "  apt-get update && apt-get install -y --no-install-recommends ${packages[*]}")
    if ((EUID != 0)); then
        if [[ -t 0 ]] && command -v sudo >/dev/null; then
            as_root=(sudo)
        elif sudo -n true 2>/dev/null; then # without a terminal sudo must not ask for a password
            as_root=(sudo -n)
        else
            die 69 "missing: ${programs[*]}" "${remedy[@]}"
        fi
    fi
    say "missing: ${programs[*]}; installing: ${packages[*]}"
    "${as_root[@]}" sh -c "$install_script" sh "${packages[@]}" </dev/null >&2 ||
        die 69 "could not install: ${packages[*]}" "${remedy[@]}"
    for pair in "$@"; do
        present "${pair%%=*}" || die 69 "${pair#*=} is installed and ${pair%%=*} still missing"
    done
    case " ${packages[*]} " in
        *" nginx-light "* | *" bind9 "* | *" openssh-server "* | *" bird2 "* | *" frr "*)
            say "Debian starts the services of these packages from the next boot on; to prevent it:" \
                "systemctl disable nginx named ssh bird frr"
            ;;
    esac
}

# cargo_version: the version of $CARGO's compiler, nothing when there is none.
cargo_version() { "$CARGO" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p'; }

# at_least VERSION WANTED
at_least() { [[ -n $1 && $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# find_cargo: sets CARGO to a cargo of at least Cargo.toml's rust-version, or says how to get one.
find_cargo() {
    local wanted home candidate toolchain
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    home=$(getent passwd "${SUDO_USER:-}" | cut -d: -f6) || true
    for candidate in "${CARGO:-}" cargo ~/.cargo/bin/cargo "${home:-/nonexistent}/.cargo/bin/cargo" \
        /usr/local/cargo/bin/cargo; do
        CARGO=$(command -v "${candidate:-/nonexistent}") || continue
        # Under sudo a rustup of the invoking user keeps its toolchains in that user's home.
        if [[ $CARGO == "$home"/* && -d $home/.rustup ]]; then
            export RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
        fi
        if at_least "$(cargo_version)" "$wanted"; then
            prepare_target
            return
        fi
        # rustup may hold a newer toolchain than the one it uses by default.
        for toolchain in $("$(dirname "$CARGO")/rustup" toolchain list 2>/dev/null | cut -d' ' -f1); do
            if at_least "$(RUSTUP_TOOLCHAIN=$toolchain cargo_version)" "$wanted"; then
                export RUSTUP_TOOLCHAIN=$toolchain
                prepare_target
                return
            fi
        done
    done
    die 69 "cargo $wanted or newer is needed and none was found. rustup installs it, without root:" \
        "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal" \
        "then open a new shell, or put ~/.cargo/bin into PATH, and run this again."
}

# prepare_target: cargo must be able to write, and must not leave root's files in a user's checkout.
prepare_target() {
    # A cargo that was found elsewhere looks for its rustc in PATH.
    PATH=$(dirname "$CARGO"):$PATH
    if ((EUID == 0)) && [[ -n ${SUDO_UID:-} && $SUDO_UID != 0 && -z ${CARGO_TARGET_DIR:-} ]]; then
        install -d -o "$SUDO_UID" -g "${SUDO_GID:-0}" target
        export CARGO_TARGET_DIR=$repo/target/root
    fi
    target=${CARGO_TARGET_DIR:-$repo/target}
    mkdir -p "$target" 2>/dev/null || true
    [[ -w $target ]] || die 77 "$target is not writable for $(id -un): this checkout is somebody else's." \
        "Build elsewhere:" "  CARGO_TARGET_DIR=\$HOME/.cache/hamp-target $0"
}
