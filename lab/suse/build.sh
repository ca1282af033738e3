#!/bin/sh
# In the tree: builds the packages, installs them and makes the repository that zypper updates from.
set -eu
cd /build
vendor='SUSE LLC <https://www.suse.com/> (played by the lab)'
dist=.150700
versions='certbot=python3-certbot openssl=openssl php=php8.4-fpm'
. ./functions.sh

groupadd --system --gid 465 www
useradd --system --uid 465 --gid www --home-dir /var/lib/wwwrun --shell /usr/sbin/nologin \
    --comment 'WWW daemon apache' wwwrun

mkdir -p $repository
build 1 system openssl php apache2
install_built
# These are in the repository and not installed. The others are what is pending later.
build 1 os-update certbot
build 2 openssl php system
rm -f $repository/*/sles-release-*-2.*.rpm

# SUSE's places of the certificates that clients trust; Debian's path leads there.
mkdir -p /var/lib/ca-certificates
mv /etc/ssl/certs /var/lib/ca-certificates/pem
ln -s /var/lib/ca-certificates/pem /etc/ssl/certs
ln -s pem/ca-certificates.crt /var/lib/ca-certificates/ca-bundle.pem
ln -s /var/lib/ca-certificates/ca-bundle.pem /etc/ssl/ca-bundle.pem

# The repository's key stays on the host, so that tests can publish what they have changed.
install -d -m 0700 /var/lib/kopano-lab/key
GNUPGHOME=/var/lib/kopano-lab/key gpg --batch --quiet --passphrase '' --quick-generate-key \
    'The repository of the lab <lab@localhost>' rsa2048 sign never
cp functions.sh publish.sh advisories.sh /var/lib/kopano-lab/
sh /var/lib/kopano-lab/publish.sh
rpm --import $repository/repodata/repomd.xml.key
zypper --quiet --non-interactive addlock mailcap >/dev/null
zypper --quiet --non-interactive --gpg-auto-import-keys refresh
GNUPGHOME=/var/lib/kopano-lab/key gpgconf --kill all
