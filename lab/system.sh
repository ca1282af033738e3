#!/bin/sh
# Have these Debian packages: install what is missing as root through apt, or say in one message what to install.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "This is not a Debian system: what the Debian packages $* bring has to be here already." >&2
    exit 0
fi
missing=
for package in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "Missing packages. As root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing$missing"
# Some of them bring a service, and none of those is to start here: the tests run the programs themselves.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 0755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086  # a list of words
apt-get -qq install --yes --no-install-recommends $missing >/dev/null
