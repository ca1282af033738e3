# What the builds of RPM packages in a tree have in common; to be sourced in /build. The caller sets `vendor`, `dist` and
# `versions`: MACRO=PACKAGE for each of Debian's packages whose version a spec refers to as %{MACRO_version}.
repository=/var/lib/kopano-lab/repository

version() { dpkg-query --show --showformat '${source:Upstream-Version}' "$1"; }

# build RELEASE SPEC...
build() {
    release=$1
    shift
    for pair in $versions; do
        echo "%${pair%%=*}_version $(version "${pair#*=}")"
    done >versions.macros
    for spec in "$@"; do
        rpmbuild -bb --quiet --load versions.macros --define "_topdir /build/rpm" --define "_rpmdir $repository" --define '_build_id_links none' \
            --define 'debug_package %{nil}' --define '_binary_payload w1.gzdio' --define "vendor $vendor" \
            --define "_unitdir /usr/lib/systemd/system" --define "root /build/root" --define "dist $dist" \
            --define '__os_install_post %{nil}' --define "lab_release $release" --define "_sourcedir /build" \
            "$spec.spec" >"$spec.log" 2>&1 || { tail -n 40 "$spec.log" >&2; return 1; }
    done
}

# The release of a distribution comes before the file that names it; Debian's own files make way.
install_built() {
    rpm --initdb
    rpm --install --nodeps --replacefiles --nosignature $repository/*/*.rpm
    # Debian's own ways to run FPM and certbot; the distribution's are in its packages.
    rm -rf /usr/sbin/php-fpm8.4 /usr/lib/systemd/system/php8.4-fpm.service /etc/php/8.4/fpm/pool.d \
        /etc/systemd/system/multi-user.target.wants/php8.4-fpm.service /etc/logrotate.d/php8.4-fpm \
        /usr/bin/certbot /usr/bin/letsencrypt /etc/letsencrypt /usr/lib/systemd/system/certbot.* \
        /etc/systemd/system/timers.target.wants/certbot.timer /etc/cron.d/certbot /etc/logrotate.d/certbot
}

# advisory ID TYPE SEVERITY TITLE PACKAGE...: one advisory of a repository; of nodejs' stream where `stream` names one
advisory() {
    printf '<update from="lab" status="final" type="%s" version="1"><id>%s</id><title>%s</title>' "$2" "$1" "$4"
    printf '<issued date="2026-11-02 00:00:00"/><updated date="2026-11-02 00:00:00"/><severity>%s</severity>' "$3"
    printf '<description>%s</description><references/><pkglist><collection short="lab"><name>lab</name>%s\n' "$4" \
        "${stream:+<module name=\"nodejs\" stream=\"$stream\" version=\"9\" context=\"1\" arch=\"x86_64\"/>}"
    shift 4
    for package in "$@"; do
        rpm --query --nosignature --queryformat '<package name="%{NAME}" version="%{VERSION}" release="%{RELEASE}"
            epoch="%|EPOCH?{%{EPOCH}}:{0}|" arch="%{ARCH}" src="%{SOURCERPM}"><filename>%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm
            </filename></package>\n' --package "$package" | tr -d '\n' | sed 's/rpm *</rpm</g'
    done
    echo '</collection></pkglist></update>'
}
