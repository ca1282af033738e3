# What the recipes of the families with RPM packages have in common; to be sourced, with the tree in $root and the
# recipe's folder in $here.

# What the programs are built with; none of it stays.
needed='ccache gcc libapr1-dev libaprutil1-dev libbrotli-dev libc6-dev libnghttp2-dev libpcre2-dev libssl-dev
    libsystemd-dev make pkgconf zlib1g-dev'

# Have the recipe's build.sh run in the tree. What it compiles is kept, for all images that compile the same.
build_packages() {
    chroot "$root" apt-get -qq install --yes --no-install-recommends $needed >/dev/null
    mkdir "$root/build"
    cp -a "$here/../rpm/." "$here/." "$root/build/"
    tar -xOf "$KOPANO_LAB_SOURCES"/mod_wsgi_httpd-*.tar.gz --wildcards '*/upstream/httpd-*.tar.gz' \
        >"$root/build/httpd.tar.gz"
    # Two images that are built at the same time do not compile the same twice: who comes second waits for it.
    mkdir -p "$KOPANO_LAB_COMPILED"
    exec 9>"$KOPANO_LAB_COMPILED.lock"
    flock 9
    cp -a "$KOPANO_LAB_COMPILED" "$root/build/compiled"
    chroot "$root" env CCACHE_DIR=/build/compiled CCACHE_COMPILERCHECK=content CCACHE_MAXSIZE=200M sh /build/build.sh
    cp -a "$root/build/compiled/." "$KOPANO_LAB_COMPILED/"
    flock -u 9
    rm -r "$root/build"
    chroot "$root" apt-get -qq purge --yes --autoremove $needed >/dev/null
}

# The lab's units, and nothing of Debian's package manager.
complete_tree() {
    family=${here##*/}
    install -m 0644 "$here/../image/kopano-lab-seed.service" "$root/etc/systemd/system/"
    for unit in kopano-lab-seed kopano-lab-daemons; do
        install -D -m 0644 "$here/$unit.conf" "$root/etc/systemd/system/$unit.service.d/$family.conf"
    done
    chroot "$root" systemctl --quiet enable kopano-lab-seed.service ssh.service
    # Timers of a real machine that would only disturb measurements and make two hosts differ; and after an update of
    # OpenSSL only a reboot would restart the last ones.
    chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        fstrim.timer getty.target man-db.timer phpsessionclean.timer dbus.socket dbus.service systemd-logind.service

    rm -r "$root"/var/lib/dpkg "$root"/usr/bin/apt* "$root"/usr/bin/dpkg* "$root"/etc/apt "$root"/var/lib/apt \
        "$root"/var/cache/apt "$root"/etc/debian_version

    # Identity belongs to the host, not to the image.
    rm -f "$root"/etc/ssh/ssh_host_*
    : >"$root/etc/machine-id"
}
