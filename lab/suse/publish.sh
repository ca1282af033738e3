#!/bin/sh
# Makes the repository's metadata from the packages that are in it, with the advisories of the file $1 if there is one,
# and signs it.
set -eu
. /var/lib/kopano-lab/functions.sh
export GNUPGHOME=/var/lib/kopano-lab/key
rm -rf $repository/repodata $repository/.repodata
createrepo_c --quiet --general-compress-type=gz $repository
updateinfo=$(mktemp --directory)
if [ $# = 0 ]; then sh /var/lib/kopano-lab/advisories.sh >"$updateinfo/updateinfo.xml"
else cp "$1" "$updateinfo/updateinfo.xml"; fi
modifyrepo_c "$updateinfo/updateinfo.xml" $repository/repodata >/dev/null
rm -r "$updateinfo"
gpg --batch --yes --quiet --detach-sign --armor $repository/repodata/repomd.xml
gpg --batch --export --armor >$repository/repodata/repomd.xml.key
