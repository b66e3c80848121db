#!/bin/bash
# A drill in a real systemd: benches/drill/booted.sh BINARY DRILL [--option value …]
#
# Boots systemd in namespaces of its own, over a copy of this machine's files that goes with it, with the unit of
# deploy/systemd and BINARY installed where the unit wants it, and runs the drill inside. Needs root, cgroup v2 and
# systemd (Debian: apt-get install systemd). Nothing outside is touched, and no network but its own loopback is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
house=$here/../..

# What runs in the namespaces, until systemd takes its place.
boot() {
    local base=$1 binary=$2 root=$1/root unit
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$base"
    mkdir "$base/upper" "$base/work" "$root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 none "$root/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    for place in dev/shm run tmp; do mount -t tmpfs tmpfs "$root/$place"; done
    ip link set lo up

    # Of this machine's own services none is started.
    rm -rf "$root/etc/systemd/system"
    mkdir -p "$root/etc/systemd/system/tidegate.service.d" "$root/etc/tidegate" "$root/opt"
    for unit in "$root"/lib/systemd/system/{sysinit,local-fs}.target.wants/*; do
        ln -sf /dev/null "$root/etc/systemd/system/$(basename "$unit")"
    done
    for unit in systemd-journald.socket systemd-journald-dev-log.socket systemd-tmpfiles-clean.timer systemd-remount-fs.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    printf '[Unit]\nDescription=A drill\n' >"$root/etc/systemd/system/drill.target"
    # Nobody keeps a journal here.
    printf '[Service]\nStandardOutput=append:/var/log/edge.log\nStandardError=inherit\n' \
        >"$root/etc/systemd/system/tidegate.service.d/log.conf"
    cp "$house/deploy/systemd/tidegate.service" "$root/etc/systemd/system/"
    install -m 0755 "$binary" "$root/usr/bin/tidegate"
    cp -r "$here" "$root/opt/drill"

    cd "$root"
    pivot_root . mnt
    umount -l /mnt
    export container=drill
    exec /lib/systemd/systemd --system --unit=drill.target --log-target=null --show-status=no
}

if [ "${1:-}" = --boot ]; then
    boot "$2" "$3"
fi

binary=$(realpath "$1")
shift
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
if [ "$(id -u)" != 0 ] || [ -z "$cgroups" ] || [ ! -x /lib/systemd/systemd ]; then
    echo "booted.sh: root, cgroup v2 and systemd are needed (Debian: apt-get install systemd)" >&2
    exit 1
fi
base=$(mktemp -d)
group=$cgroups/drill-$$
mkdir "$group"
unshare=
clean() {
    if [ -n "$unshare" ]; then
        kill -KILL "$unshare" || true
        wait "$unshare" || true
    fi 2>/dev/null
    # With the first process of its namespace everything in there ends.
    for _ in $(seq 50); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.1
    done
    rmdir "$base" 2>/dev/null || true
}
trap clean EXIT
# From a group of its own: systemd takes over the one that it is born in.
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' _ "$group" \
    unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup "$here/booted.sh" --boot "$base" "$binary" &
unshare=$!
inside() { nsenter --target "$(pgrep -P "$unshare" | head -n 1)" --all "$@"; }
for _ in $(seq 100); do
    state=$(inside systemctl is-system-running 2>/dev/null || true)
    [ "$state" != running ] || break
    kill -0 "$unshare"
    sleep 0.1
done
[ "$state" = running ] || {
    echo "booted.sh: systemd does not come up: ${state:-nothing is said}" >&2
    inside systemctl --failed --no-pager >&2 || true
    exit 1
}
inside systemctl --version | head -n 1
inside env -C /opt/drill python3 drill.py --binary /usr/bin/tidegate --unit tidegate "$@"
