# A machine run by systemd, in namespaces of its own: `boot.sh outer DIRECTORY CGROUP`.
# It shares /usr with the host, read-only; everything else is its own and in memory. In DIRECTORY are
# `root`, an empty directory, and `files`, which is seen as /files. `pid` appears there: init's.
set -eu
stage=$1 directory=$2 cgroup=$3
root=$directory/root

if [ "$stage" = outer ]; then
    mount --make-rprivate /
    mount -t cgroup2 cgroup2 "$root"
    mkdir "$root/$cgroup"
    (
        echo 0 > "$root/$cgroup/cgroup.procs"
        exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc sh "$0" inner "$directory" "$cgroup"
    ) || true
    find "$root/$cgroup" -depth -type d -exec rmdir {} +
    exit
fi

umount "$root"
# This shell becomes init; /proc is still the host's.
cut -d' ' -f4 /proc/self/stat > "$directory/pid.new"
mv "$directory/pid.new" "$directory/pid"

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system run tmp var/log var/tmp proc sys dev root units generators files old
chmod 1777 tmp var/tmp
ln -s ../run var/run
for name in usr bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        ln -s "$(readlink "/$name")" "$name"
    elif [ -d "/$name" ]; then
        mkdir -p "$name"
        mount --bind "/$name" "$name"
        mount -o remount,bind,ro "$name"
    fi
done
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin
mount --bind "$directory/files" files
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
# As systemd mounts it where it is the first.
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    : > "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run

echo 5a1c3f0e9b7d4e2a8c6f1d0b3e5a7c9f > etc/machine-id
echo 'root:x:0:0::/root:/bin/sh
nobody:x:65534:65534::/:/bin/false' > etc/passwd
echo 'root:x:0:
systemd-journal:x:101:
nogroup:x:65534:' > etc/group
echo 'passwd: files
group: files' > etc/nsswitch.conf
for name in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket \
    sysinit.target sockets.target basic.target multi-user.target shutdown.target umount.target; do
    ln -s "$(readlink -f "/usr/lib/systemd/system/$name")" "units/$name"
done
mkdir units/multi-user.target.wants
ln -s /units/systemd-journald.service units/multi-user.target.wants/

pivot_root . old
cd /
umount -l /old
export container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/units
export SYSTEMD_GENERATOR_PATH=/generators SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/generators
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
