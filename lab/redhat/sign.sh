#!/bin/sh
# sign.sh key FILE: makes the key that everything is signed with and writes its public half to FILE.
# sign.sh packages FILE..., sign.sh metadata FOLDER: signs packages, or the repository in a folder.
set -eu
export GNUPGHOME=/build/gnupg
action=$1
shift
case $action in
key)
    mkdir -m 0700 $GNUPGHOME
    gpg --batch --quiet --passphrase '' --quick-generate-key 'The packages that the lab has built' ed25519 sign never
    gpg --armor --export >"$1"
    ;;
packages) rpmsign --addsign --define "_gpg_path $GNUPGHOME" --define '_gpg_name The packages that the lab has built' "$@" >/dev/null ;;
metadata) gpg --batch --yes --quiet --armor --detach-sign "$1/repodata/repomd.xml" ;;
esac
