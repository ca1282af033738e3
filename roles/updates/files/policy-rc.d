#!/bin/sh
# Made by kopano.hardening.updates, and removed at the end of its run.
# The role restarts these services itself, after a rehearsal. No other service is affected, and none after an hour.
[ -z "$(find "$0" -mmin +60)" ] || exit 0
for word; do
    case $word in
        apache2 | apache2.service | nginx | nginx.service | php*-fpm | php*-fpm.service) exit 101 ;;
    esac
done
exit 0
