#!/bin/sh
# Runs once for each image, on its tree before it is packed (an mmdebstrap customize hook): $1 is the tree.
# It builds the packages with rpmbuild and installs them, and takes away what would say that the tree is Debian's.
set -eu
root=$1
here=$(dirname "$0")
# What the programs are built with; none of it stays.
needed='gcc libapr1-dev libaprutil1-dev libbrotli-dev libc6-dev libnghttp2-dev libpcre2-dev libssl-dev libsystemd-dev
    make pkgconf zlib1g-dev'

chroot "$root" apt-get -qq install --yes --no-install-recommends $needed >/dev/null
mkdir "$root/build"
cp -a "$here/." "$root/build/"
tar -xOf "$KOPANO_LAB_SOURCES"/mod_wsgi_httpd-*.tar.gz --wildcards '*/upstream/httpd-*.tar.gz' >"$root/build/httpd.tar.gz"
chroot "$root" sh /build/build.sh
rm -r "$root/build"
chroot "$root" apt-get -qq purge --yes --autoremove $needed >/dev/null

systemctl() { chroot "$root" systemctl --quiet "$@"; }
install -m 0644 "$here/../image/kopano-lab-seed.service" "$root/etc/systemd/system/"
for unit in kopano-lab-seed kopano-lab-daemons; do
    install -D -m 0644 "$here/$unit.conf" "$root/etc/systemd/system/$unit.service.d/redhat.conf"
done
# As on the other hosts: whoever starts the timer waits until its job has run once.
install -D -m 0644 "$here/../image/run-at-once.conf" "$root/etc/systemd/system/dnf-automatic.timer.d/run-at-once.conf"
install -m 0644 "$here/kopano-lab-first-upgrade.service" "$root/etc/systemd/system/"
systemctl enable kopano-lab-seed.service ssh.service
# Timers of a real machine that would only disturb measurements and make two hosts differ.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer getty.target \
    man-db.timer phpsessionclean.timer
# After an update of OpenSSL only a reboot would restart these.
systemctl mask dbus.socket dbus.service systemd-logind.service

# Only Red Hat's package manager is to be found.
rm -r "$root"/var/lib/dpkg "$root"/usr/bin/apt* "$root"/usr/bin/dpkg* "$root"/etc/apt "$root"/var/lib/apt \
    "$root"/var/cache/apt "$root"/etc/debian_version

# Identity belongs to the host, not to the image.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
