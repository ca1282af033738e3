#!/bin/sh
# Prints the advisories of the repository: one for the second release of each source.
set -eu
. /var/lib/kopano-lab/functions.sh
id=SUSE-SLE-Module-Basesystem-15-SP7-2026
echo '<?xml version="1.0" encoding="UTF-8"?><updates>'
advisory $id-1 security important 'Security update for openssl-3' $repository/*/*openssl*-2.150700.*.rpm
advisory $id-2 recommended moderate 'Recommended update for php8' $repository/*/php8-*-2.150700.*.rpm
advisory $id-3 feature low 'Feature update for aaa_base' $repository/*/aaa_base-*-2.150700.*.rpm
advisory $id-4 optional low 'Optional update for mailcap' $repository/*/mailcap-*-2.150700.*.rpm
echo '</updates>'
