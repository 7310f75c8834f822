# shellcheck shell=bash
# What the scripts share. Sourced by each of them, after `set -euo pipefail`.

repo=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
rootfs=$repo/target/rootfs
sqlite=$repo/target/sqlite

# What is made here must be readable for the ordinary users of a box.
umask 022

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    ((EUID == 0)) || die "making namespaces, groups and mounts needs root; run it as root"
}

# install_packages PACKAGE...: those of them that are missing.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || die "this is for Debian; elsewhere install: $*"
    for package; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        echo "packages: all are installed"
        return
    fi
    ((EUID == 0)) || die "installing packages needs root; as root: apt-get install ${missing[*]}"
    echo "packages: installing ${missing[*]}"
    apt-get update -qq
    # Configuration that is there already stays.
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
}

# build_programs gnu|musl: with this C library; sets `made`, the directory that they are in.
# shellcheck disable=SC2034 # not all look there
build_programs() {
    if [[ $1 == musl ]]; then
        made=$repo/target/musl/x86_64-unknown-linux-musl/release
        "$repo/scripts/musl"
        return
    fi
    made=$repo/target/release
    command -v cargo >/dev/null || die "cargo is missing; install Rust first"
    echo "programs: building target/release"
    cargo build --release --workspace --locked --quiet --manifest-path "$repo/Cargo.toml"
}

# make_tree NAME FUNCTION: FUNCTION fills a directory, which gets its name only when it is whole.
# It is made anew when the calling script or a package has changed since.
make_tree() {
    local tree=$repo/target/$1
    if [[ $tree -nt ${BASH_SOURCE[1]} && $tree -nt /var/lib/dpkg/status ]]; then
        echo "target/$1: is there"
        return
    fi
    echo "target/$1: making it"
    rm -rf "$tree.new"
    mkdir "$tree.new"
    "$2" "$tree.new"
    touch "$tree.new"
    rm -rf "$tree"
    mv "$tree.new" "$tree"
}

# What the caller prints on stdout stays its own.
setup_if_missing() {
    [[ -x $repo/target/release/box-run && -d $rootfs && -d $sqlite && -d $repo/target/vm ]] ||
        "$repo/scripts/setup" >&2
}

# group_of PID CONTROLLER: the directory of the process's cgroup v1 group.
group_of() {
    local controllers path
    while IFS=: read -r _ controllers path; do
        if [[ ,$controllers, == *,$2,* ]]; then
            printf '/sys/fs/cgroup/%s%s\n' "$2" "${path%/}"
            return
        fi
    done <"/proc/$1/cgroup"
    die "no cgroup v1 $2 controller here; this version needs one"
}

# wait_for SECONDS COMMAND...: for what the kernel gives a script no event for.
wait_for() {
    local deadline=$((SECONDS + $1))
    until "${@:2}"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}
