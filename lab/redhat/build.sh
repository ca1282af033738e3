#!/bin/sh
# In the tree: builds the packages, installs them and makes the repository that dnf updates from.
set -eu
cd /build
repository=/var/lib/kopano-lab/repository
version() { dpkg-query --show --showformat '${source:Upstream-Version}' "$1"; }

groupadd --system --gid 48 apache
useradd --system --uid 48 --gid apache --home-dir /usr/share/httpd --shell /usr/sbin/nologin --comment Apache apache
groupadd --system nginx
useradd --system --gid nginx --home-dir /var/lib/nginx --shell /usr/sbin/nologin --comment Nginx nginx

mkdir -p $repository
sh sign.sh key key.asc
# build SPEC RELEASE
build() {
    rpmbuild -bb --quiet --define "_topdir /build/rpm" --define "_rpmdir $repository" --define '_build_id_links none' \
        --define 'debug_package %{nil}' --define '_binary_payload w1.gzdio' --define 'vendor AlmaLinux (played by the lab)' \
        --define "_unitdir /usr/lib/systemd/system" --define "root /build/root" --define 'dist .el9' \
        --define '__os_install_post %{nil}' --define "lab_release $2" --define "_sourcedir /build" \
        --define "openssl_version $(version openssl)" --define "php_version $(version php8.4-fpm)" \
        --define "nginx_version $(version nginx)" --define "dnf_version $(version dnf)" \
        --define "certbot_version $(version python3-certbot)" "$1.spec"
}
for spec in system openssl php nginx nodejs18 httpd; do
    build $spec 1 >$spec.log 2>&1 || { tail -n 40 $spec.log >&2; exit 1; }
done
sh sign.sh packages $repository/*/*.rpm
# Debian's ways to run nginx, dnf-automatic and certbot.
rm -rf /etc/nginx /usr/share/nginx /var/lib/nginx /var/log/nginx /etc/default/nginx /etc/init.d/nginx /etc/logrotate.d/nginx \
    /etc/ufw /etc/rc?.d/*nginx /usr/lib/systemd/system/nginx.service /etc/dnf/automatic.conf \
    /etc/systemd/system/multi-user.target.wants/nginx.service /usr/bin/certbot /usr/bin/letsencrypt /etc/letsencrypt \
    /usr/lib/systemd/system/certbot.* /etc/systemd/system/timers.target.wants/certbot.timer /etc/cron.d/certbot \
    /etc/logrotate.d/certbot
# The release of a distribution comes before the file that names it; Debian's own files make way.
rpm --initdb
rpm --install --nodeps --replacefiles --nosignature $repository/*/*.rpm
# Debian's own way to run FPM; Red Hat's is in the package.
rm -rf /usr/sbin/php-fpm8.4 /usr/lib/systemd/system/php8.4-fpm.service /etc/php/8.4/fpm/pool.d \
    /etc/systemd/system/multi-user.target.wants/php8.4-fpm.service /etc/logrotate.d/php8.4-fpm

# What is pending later: one stream of the module is enabled, the other is only there. The last two can be installed.
for spec in openssl php system nodejs18 nodejs20 automatic certbot; do
    build $spec 2 >$spec.log 2>&1 || { tail -n 40 $spec.log >&2; exit 1; }
done
rm -f $repository/*/almalinux-release-9*-2.*.rpm
sh sign.sh packages $repository/*/*-2.el9.*.rpm $repository/*/*-2.module.el9.*.rpm
createrepo_c --quiet --general-compress-type=gz $repository
sh updateinfo.sh $repository >updateinfo.xml
modifyrepo_c updateinfo.xml $repository/repodata >/dev/null
sh modules.sh $repository >modules.yaml
modifyrepo_c --mdtype=modules modules.yaml $repository/repodata >/dev/null
sh sign.sh metadata $repository
echo 'mailcap-0:2.1.54-1.el9.*' >>/etc/dnf/plugins/versionlock.list
# Debian's package of plugins has some that Red Hat's has not: with this one each update leaves a copy behind.
rm /etc/dnf/plugins/local.conf
# The first time it asks whether the key is right.
dnf --quiet --assumeyes makecache
dnf --quiet --assumeyes module enable nodejs:18
gpgconf --homedir /build/gnupg --kill all
