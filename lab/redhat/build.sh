#!/bin/sh
# In the tree: builds the packages, installs them and makes the repository that dnf updates from.
set -eu
cd /build
vendor='AlmaLinux (played by the lab)'
dist=.el9
versions='certbot=python3-certbot dnf=dnf nginx=nginx openssl=openssl php=php8.4-fpm'
. ./functions.sh

groupadd --system --gid 48 apache
useradd --system --uid 48 --gid apache --home-dir /usr/share/httpd --shell /usr/sbin/nologin --comment Apache apache
groupadd --system nginx
useradd --system --gid nginx --home-dir /var/lib/nginx --shell /usr/sbin/nologin --comment Nginx nginx

mkdir -p $repository
sh sign.sh key key.asc
build 1 system openssl php nginx nodejs18 httpd
sh sign.sh packages $repository/*/*.rpm
# Debian's ways to run nginx and dnf-automatic.
rm -rf /etc/nginx /usr/share/nginx /var/lib/nginx /var/log/nginx /etc/default/nginx /etc/init.d/nginx /etc/logrotate.d/nginx \
    /etc/ufw /etc/rc?.d/*nginx /usr/lib/systemd/system/nginx.service /etc/dnf/automatic.conf \
    /etc/systemd/system/multi-user.target.wants/nginx.service
install_built

# What is pending later: one stream of the module is enabled, the other is only there. The last two can be installed.
build 2 openssl php system nodejs18 nodejs20 automatic certbot
rm -f $repository/*/almalinux-release-9*-2.*.rpm
sh sign.sh packages $repository/*/*-2.el9.*.rpm $repository/*/*-2.module.el9.*.rpm
createrepo_c --quiet --general-compress-type=gz $repository
sh updateinfo.sh >updateinfo.xml
modifyrepo_c updateinfo.xml $repository/repodata >/dev/null
sh modules.sh $repository >modules.yaml
modifyrepo_c --mdtype=modules modules.yaml $repository/repodata >/dev/null
sh sign.sh metadata $repository
echo 'mailcap-0:2.1.54-1.el9.*' >>/etc/dnf/plugins/versionlock.list
# Debian's package of plugins has some that Red Hat's has not: with this one each update leaves a copy behind.
rm /etc/dnf/plugins/local.conf
# The first time it prompts for a confirmation of the key.
dnf --quiet --assumeyes makecache
dnf --quiet --assumeyes module enable nodejs:18
gpgconf --homedir /build/gnupg --kill all
