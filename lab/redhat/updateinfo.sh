#!/bin/sh
# Prints the advisories of the repository: one for the second release of each source.
set -eu
. ./functions.sh
echo '<?xml version="1.0" encoding="UTF-8"?><updates>'
advisory LAB-SA-2026:0001 security Important 'openssl: an update for security' $repository/*/openssl-*-2.el9.*.rpm
advisory LAB-BA-2026:0002 bugfix None 'php: an update for bugs' $repository/*/php-*-2.el9.*.rpm
advisory LAB-EA-2026:0003 enhancement None 'mailcap: more types' $repository/*/mailcap-*-2.el9.*.rpm
for stream in 18 20; do
    advisory LAB-SA-2026:00$stream security Moderate "nodejs:$stream: an update for security" \
        $repository/noarch/nodejs-$stream.*-2.module.el9.*.rpm
done
echo '</updates>'
