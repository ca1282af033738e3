#!/bin/sh
# Runs once for each image, on its tree before it is packed (an mmdebstrap customize hook): $1 is the tree.
# It builds the packages with rpmbuild and installs them, and removes what identifies the tree as Debian's.
set -eu
root=$1
here=$(dirname "$0")
. "$here/../rpm/tree.sh"

build_packages
complete_tree
# As on the other hosts: the timer's start waits until its job has run once.
install -D -m 0644 "$here/../image/run-at-once.conf" "$root/etc/systemd/system/dnf-automatic.timer.d/run-at-once.conf"
install -m 0644 "$here/kopano-lab-first-upgrade.service" "$root/etc/systemd/system/"
