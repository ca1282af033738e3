#!/bin/sh
# Runs once for each image, on its tree before it is packed (an mmdebstrap customize hook): $1 is the tree.
set -eu
root=$1
here=$(dirname "$0")

# The release's own program: another one does not know where this release keeps its units.
systemctl() { chroot "$root" systemctl --quiet "$@"; }

# The first boot starts what the host's data asks for, so nothing that serves is enabled here.
for unit in "$root"/lib/systemd/system/apache2.service "$root"/lib/systemd/system/nginx.service \
    "$root"/lib/systemd/system/php*-fpm.service; do
    systemctl disable "${unit##*/}"
done
# It waits for a shutdown in the middle of an update, which a container does not have.
[ ! -e "$root/lib/systemd/system/unattended-upgrades.service" ] || systemctl disable unattended-upgrades.service
# Timers of a real machine that would only disturb measurements and make two hosts differ.
systemctl mask apt-daily.timer apt-daily-upgrade.timer apache-htcacheclean.service e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer man-db.timer phpsessionclean.timer getty.target
# After an update of libc or OpenSSL only a reboot would restart these, and an image gets older than its packages.
systemctl mask dbus.socket dbus.service systemd-logind.service

# Whether automatic updates work is known once they have run, and few of these hosts live until the next morning: whoever
# starts the timer, as the role updates does, waits until the job that it is for has run once.
install -D -m 0644 "$here/run-at-once.conf" "$root/etc/systemd/system/apt-daily-upgrade.timer.d/run-at-once.conf"
install -m 0644 "$here/kopano-lab-first-upgrade.service" "$root/etc/systemd/system/"

install -m 0644 "$here/kopano-lab-seed.service" "$root/etc/systemd/system/"
systemctl enable kopano-lab-seed.service ssh.service

# Identity belongs to the host, not to the image.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
