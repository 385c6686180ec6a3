#!/bin/sh
# Installs, upgrades and removes berth. For any POSIX shell, BusyBox's too.
#
#   BERTH_RELEASE=SOURCE sh install.sh [--prefix FOLDER | --user] [--service] [--target NAME]
#   sh install.sh --uninstall [--purge] [--prefix FOLDER | --user]
#
# SOURCE is a release as ci/dist/make makes it: a folder, or a URL (file, http, https) of one.
set -eu
umask 022
asked_path=$PATH
# What makes groups and services is there, also for a root that came by a plain `su`.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
die() {
    printf 'install.sh: %s\n' "$1" >&2
    shift
    for hint; do printf '  %s\n' "$hint" >&2; done
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
    cat <<'END'
usage: BERTH_RELEASE=SOURCE install.sh [OPTION...]

SOURCE is a release: a folder, or a URL (file://, http://, https://) of one, with SHA256SUMS in it.

  --release SOURCE   the same as BERTH_RELEASE
  --prefix FOLDER    install below FOLDER (/usr/local)
  --user             install for yourself, below ~/.local; needs no root
  --service          start the engine at boot, by systemd, OpenRC or init scripts; with --user by your own systemd
  --target NAME      x86_64, i686, aarch64, armv7, armv6 or riscv64, instead of what is found out
  --uninstall        remove what was installed; containers, images and volumes stay
  --purge            with --uninstall: remove those first
  --help             this
END
}

prefix=/usr/local user=no service=no target= remove=no purge=no
release=${BERTH_RELEASE-}
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --release | --target)
        [ $# -gt 1 ] && [ -n "$2" ] || die "$1 needs a value"
        case $1 in --prefix) prefix=$2 ;; --release) release=$2 ;; *) target=$2 ;; esac
        shift
        ;;
    --prefix=?*) prefix=${1#*=} ;;
    --release=?*) release=${1#*=} ;;
    --target=?*) target=${1#*=} ;;
    --user) user=yes ;;
    --service) service=yes ;;
    --uninstall) remove=yes ;;
    --purge) purge=yes ;;
    --help | -h) usage; exit 0 ;;
    *) die "unknown option $1" "install.sh --help lists them" ;;
    esac
    shift
done
if [ $user = yes ]; then
    [ "$prefix" = /usr/local ] || die "--user and --prefix exclude each other"
    [ -n "${HOME-}" ] || die "--user: HOME is not set"
    prefix=$HOME/.local
fi
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
# One spelling, as the list of what was placed has it.
prefix=$(printf '%s/\n' "$prefix" | sed -e ':a' -e 's|//|/|;ta' -e 's|/\./|/|;ta' -e 's|/[^/]*/\.\./|/|;ta' -e 's|/$||')
case $prefix in *[[:space:]\|\&\\]*) die "--prefix $prefix: blanks and the characters | & \\ are not possible there" ;; esac
[ $purge = no ] || [ $remove = yes ] || die "--purge goes with --uninstall"
[ $service = no ] || [ $remove = no ] || die "--service and --uninstall exclude each other"
[ $service = no ] || [ $user = yes ] || [ "$(id -u)" = 0 ] || die "--service is for root, or with --user for yourself"
bin=$prefix/bin
case $user in yes) units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user ;; *) units=/etc/systemd/system ;; esac
# What was placed, a path a line: what the next installation no longer has goes, and what is removed was ours.
list=$prefix/share/berth/installed

# --- services

# systemd's, of the machine or of the user.
manage() {
    if [ $user = yes ]; then systemctl --user "$@"; else systemctl "$@"; fi
}
systemd_runs() {
    if [ $user = yes ]; then
        have systemctl && systemctl --user show-environment >/dev/null 2>&1
    else
        [ -d /run/systemd/system ]
    fi
}

is_listed() { grep -Fqx -e "$1" "$list" 2>/dev/null; }

# What starts the service: what it was installed for, and otherwise what runs here. Not to be reached (in a chroot, or without a
# session) is not gone. Nothing without a service.
service_kind() {
    if is_listed "$units/berth.service" && { [ $service = no ] || have systemctl; }; then
        say systemd
    elif is_listed /etc/init.d/berth && [ $service = no ]; then
        if grep -q openrc-run /etc/init.d/berth 2>/dev/null; then say openrc; else say sysv; fi
    elif [ $service = no ]; then
        :
    elif systemd_runs; then
        say systemd
    elif [ $user = yes ]; then
        :
    elif have openrc-run; then
        say openrc
    elif [ -d /etc/init.d ]; then
        say sysv
    fi
}

# Where the service's files go, as lines SOURCE DESTINATION.
service_files() {
    case $kind in
    systemd)
        from=berth
        [ $user = no ] || from=berth-user
        say "$from.service $units/berth.service"
        say "$from.socket $units/berth.socket"
        ;;
    openrc | sysv) say "berth.$kind /etc/init.d/berth" ;;
    esac
}

# cannot_ask WHEN WHAT: what to say to it later.
cannot_ask() {
    say "systemd cannot be asked from here. $1: systemctl$([ $user = no ] || say ' --user') $2"
}

enable_service() {
    case $kind in
    systemd)
        if ! systemd_runs; then
            cannot_ask "The service that is enabled is the old program until" "restart berth.service"
            return
        fi
        manage daemon-reload
        manage enable --now berth.socket berth.service
        # One that ran before is the old program.
        [ "$before" = none ] || manage restart berth.service
        ;;
    openrc)
        rc-update add berth default
        rc-service berth restart
        ;;
    *)
        if have update-rc.d; then update-rc.d berth defaults; fi
        /etc/init.d/berth restart
        ;;
    esac
}

# The new program serves; containers do not notice.
restart_service() {
    case $kind in
    systemd)
        if systemd_runs; then
            manage daemon-reload
            manage try-restart berth.service
        else
            cannot_ask "An engine that runs is the old program until" "restart berth.service"
        fi
        ;;
    openrc | sysv) if /etc/init.d/berth status >/dev/null 2>&1; then /etc/init.d/berth restart; fi ;;
    esac
}

stop_service() {
    if is_listed "$units/berth.service"; then
        if systemd_runs; then
            manage disable --now berth.socket berth.service
        else
            rm -f "$units"/*.wants/berth.service "$units"/*.wants/berth.socket
            cannot_ask "An engine that still runs is ended by" "stop berth.socket berth.service"
        fi
    elif is_listed /etc/init.d/berth; then
        /etc/init.d/berth stop || true
        if have rc-update; then rc-update del berth || true; fi
        # By force, as the script is still there.
        if have update-rc.d; then update-rc.d -f berth remove || true; fi
    fi
}

# --- removing

# Of a list: files, and then folders (which end with a slash) that are empty after it.
remove_listed() {
    while IFS= read -r path; do
        case $path in
        "$prefix"/*/ | "$prefix"/) ;;
        # And what an installation that was killed left beside it.
        "$prefix"/* | "$units"/berth.* | /etc/init.d/berth) rm -f "$path" "${path%/*}/.${path##*/}.new" ;;
        esac
    done <"$1"
    sort -r "$1" | while IFS= read -r path; do
        case $path in */) rmdir "$path" 2>/dev/null || true ;; esac
    done
}

uninstall() {
    [ -f "$list" ] || die "nothing that this script installed is below $prefix" \
        "name its --prefix, or --user; packages are removed by the package manager"
    if [ $purge = yes ]; then
        sh "$prefix/share/berth/purge" "$bin/berth" check
        stop_service
        sh "$prefix/share/berth/purge" "$bin/berth" now
    else
        stop_service
    fi
    left=$(mktemp "${TMPDIR:-/tmp}/berth.XXXXXX")
    cp "$list" "$left"
    had_units=no
    if is_listed "$units/berth.service"; then had_units=yes; fi
    rm -f "$list"
    remove_listed "$left"
    rm -f "$left"
    if [ $had_units = yes ] && systemd_runs; then manage daemon-reload || true; fi
    say "berth is removed from ${prefix:-/}."
    [ $purge = yes ] || say "Containers go on, and images and volumes stay; with berth installed again they are yours again."
}

if [ $remove = yes ]; then
    uninstall
    exit 0
fi

# --- what to install

# 1 or 2: whether the programs of this system have 32 bits or 64, by the head of the one that runs this script.
elf_class() { od -An -tu1 -j4 -N1 /proc/self/exe 2>/dev/null | tr -d ' '; }

# What may run here, the best first. The kernel can have more bits than the system.
candidates() {
    machine=$(uname -m)
    bits=$(elf_class)
    case $machine in
    x86_64 | amd64) if [ "$bits" = 1 ]; then say i686; else say x86_64; fi ;;
    i[3-9]86) say i686 ;;
    aarch64 | arm64) if [ "$bits" = 1 ]; then say "armv7 armv6"; else say aarch64; fi ;;
    armv7* | armv8*)
        # Processors without a floating point unit say what they have; emulators show the host's.
        if grep -q '^Features' /proc/cpuinfo 2>/dev/null && ! grep -Eq '^Features.*(vfpv3|vfpv4|neon|asimd)' /proc/cpuinfo; then
            say armv6
        else
            say "armv7 armv6"
        fi
        ;;
    armv6*) say armv6 ;;
    riscv64) say riscv64 ;;
    *) die "there is no berth for this machine ($machine)" "--target NAME takes one all the same" ;;
    esac
}

fetch() { # NAME FILE
    case $release in
    http://* | https://*)
        if have curl; then
            curl -fsSL --retry 2 -o "$2" "$release/$1"
        elif have wget; then
            wget -q -O "$2" "$release/$1"
        else
            die "neither curl nor wget is here" "fetch the release by other means and name its folder by BERTH_RELEASE"
        fi
        ;;
    file://*) cp "${release#file://}/$1" "$2" ;;
    *) cp "$release/$1" "$2" ;;
    esac
}

sum() {
    if have sha256sum; then
        sha256sum <"$1"
    elif have shasum; then
        shasum -a 256 <"$1"
    elif have openssl; then
        openssl dgst -sha256 -r <"$1"
    elif have busybox; then
        busybox sha256sum <"$1"
    else
        die "nothing here makes SHA-256 sums" "install coreutils, perl, openssl or busybox"
    fi | cut -d ' ' -f 1
}

[ -n "$release" ] || die "where the release is has to be said" \
    "BERTH_RELEASE=https://HOST/FOLDER sh install.sh, or the path of a folder"
release=${release%/}
case $release in
http://* | https://* | file:///* | /*) ;;
*://*) die "BERTH_RELEASE=$release: http, https and file URLs, and folders, are known" ;;
*) release=$PWD/$release ;;
esac
if [ -n "$target" ]; then wanted=$target; else wanted=$(candidates); fi

# make_folder FOLDER: with those above it; what was not there is noted, to be removed again.
made=
make_folder() {
    [ -n "$1" ] && [ ! -d "$1" ] || return 0
    make_folder "${1%/*}" && mkdir "$1" 2>/dev/null || return 1
    made="$made$1/
"
}
# Of an installation that fails.
clean_up() {
    rm -rf "$work"
    [ -z "$made" ] || printf '%s' "$made" | sort -r | while IFS= read -r path; do rmdir "$path" 2>/dev/null || true; done
}

make_folder "$bin" && [ -w "$bin" ] || die "$bin cannot be written to" \
    "run this as root, or with --user for yourself, or name another --prefix"
# Of installations that were killed.
for left in "$bin"/.berth-install.*; do
    [ -d "$left" ] || continue
    kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
done
# On the file system where the program will be: it is tried there, and put into its place by a rename.
work=$bin/.berth-install.$$
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
(umask 077 && mkdir "$work")

fetch SHA256SUMS "$work/SHA256SUMS" ||
    die "$release: there is no SHA256SUMS that can be fetched" "a release is what ci/dist/make makes"

found='' has=''
for name in $wanted; do
    file=$(sed -n "s/^[0-9a-f]\{64\}  \(berth-[0-9][^/ ]*-$name\.tar\.gz\)\$/\1/p" "$work/SHA256SUMS")
    [ -n "$file" ] || continue
    case $file in *"
"*) die "$release has several versions for $name" "leave one of them in SHA256SUMS" ;; esac
    fetch "$file" "$work/$file" || die "$release/$file cannot be fetched"
    right=$(sed -n "s/^\([0-9a-f]\{64\}\)  $file\$/\1/p" "$work/SHA256SUMS")
    is=$(sum "$work/$file")
    [ "$is" = "$right" ] || die "$file is damaged: its SHA-256 is ${is:-unknown}, and should be $right" "nothing was changed"
    gzip -dc "$work/$file" | (cd "$work" && tar -xf -)
    tree=$work/${file%.tar.gz}
    if version=$("$tree/bin/berth" --version 2>"$work/why"); then
        found=$name
        break
    fi
    has="$has $name ($(tail -n 1 "$work/why"))"
    rm -rf "$tree" "$work/$file"
done
[ -n "$found" ] || die "$release has nothing that runs here; wanted: $wanted${has:+; tried:$has}" "--target NAME takes another"

# --- placing

# place SOURCE DESTINATION MODE: whoever looks finds the old file or the new one, whole.
place() {
    new=${2%/*}/.${2##*/}.new
    make_folder "${2%/*}" || die "${2%/*} cannot be made"
    cp "$1" "$new"
    chmod "$3" "$new"
    mv -f "$new" "$2"
}

before=none
[ ! -x "$bin/berth" ] || before=$("$bin/berth" --version 2>/dev/null || say "unknown")
kind=$(service_kind)
if [ $service = yes ] && [ -z "$kind" ]; then
    [ $user = no ] || die "--service: no systemd of yours runs here" "let your session run: $bin/berth serve"
    die "--service: neither systemd nor OpenRC nor /etc/init.d is here" "let your init run: $bin/berth serve"
fi
(cd "$tree" && find share -type f) | sed "s|.*|$tree/& $prefix/& 644|" >"$work/files"
# Last of what is below the prefix, as it may ask for the rest.
say "$tree/bin/berth $bin/berth 755" >>"$work/files"
service_files | while read -r from to; do
    sed "s|/usr/bin/berth|$bin/berth|g" "$tree/share/berth/init/$from" >"$work/$from"
    case $to in */init.d/*) mode=755 ;; *) mode=644 ;; esac
    say "$work/$from $to $mode"
done >>"$work/files"
cut -d ' ' -f 2 "$work/files" >"$work/placed"
say "$list" >>"$work/placed"
# Before anything is placed, so that what a killed installation leaves is known; what was there stays known until the end.
cp "$list" "$work/before" 2>/dev/null || : >"$work/before"
make_folder "${list%/*}" || die "${list%/*} cannot be made"
cat "$work/before" "$work/placed" | sort -u >"$work/all"
place "$work/all" "$list" 644
while read -r from to mode; do place "$from" "$to" "$mode"; done <"$work/files"
grep '/$' "$work/before" >>"$work/placed" || true
printf '%s' "$made" >>"$work/placed"
made=
place "$work/placed" "$list" 644
grep -Fvxf "$work/placed" "$work/before" >"$work/gone" || true
remove_listed "$work/gone"

if [ $service = yes ]; then
    if [ $user = no ] && ! grep -q '^berth:' /etc/group; then
        if have groupadd; then groupadd --system berth; else addgroup -S berth; fi
    fi
    enable_service
else
    restart_service
fi

case $before in
none) say "$version ($found) is installed: $bin/berth" ;;
*) say "$version ($found) is in the place of $before: $bin/berth. Containers that run go on." ;;
esac
case :$asked_path: in *":$bin:"*) ;; *) say "$bin is not on your PATH; add it: export PATH=\"$bin:\$PATH\"" ;; esac
if [ $user = yes ] && [ "$(id -u)" != 0 ]; then
    name=$(id -un 2>/dev/null || id -u)
    if [ $service = yes ]; then
        say "The engine listens at unix://${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/berth/berth.sock."
        [ -e "/var/lib/systemd/linger/$name" ] || say "It ends with your last session; to keep it: loginctl enable-linger"
    fi
    has_numbers() { grep -Eq "^($name|$(id -u)):" "$1" 2>/dev/null; }
    if ! have newuidmap || ! has_numbers /etc/subuid || ! has_numbers /etc/subgid; then
        say "Containers will have one user, root. For more, let root install newuidmap (Debian: uidmap, Alpine: shadow-uidmap)"
        say "and give you numbers: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $name"
    fi
    "$bin/berth" doctor >/dev/null 2>&1 || say "Something is missing here; see: berth doctor"
fi
