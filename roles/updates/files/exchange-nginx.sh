#!/bin/sh
# Exchanges nginx's program and libraries while it serves (nginx.org, control.html): a new main process takes over the
# sockets, then the old one lets its workers finish what they have begun. Where the new one does not come up, the old one
# stays. A unit that would not notice the new main process is restarted.
set -eu
unit=nginx.service
pid_file=$(systemctl show --property=PIDFile --value "$unit")
if [ "$(systemctl show --property=Type --value "$unit")" != forking ] || [ ! -s "$pid_file" ]; then
    exec systemctl restart "$unit"
fi
old=$(cat "$pid_file")
kill -USR2 "$old"
tries=0
until [ -s "$pid_file.oldbin" ] && [ -s "$pid_file" ] && new=$(cat "$pid_file") && [ "$new" != "$old" ] &&
    grep -qs . "/proc/$new/task/$new/children"; do
    tries=$((tries + 1))
    if [ $tries -gt 50 ]; then
        echo "the new nginx did not come up within 5 seconds; the old one goes on" >&2
        exit 1
    fi
    sleep 0.1
done
kill -QUIT "$old"
# Long polls may keep it for an hour.
tries=0
while [ -d "/proc/$old" ] && [ $tries -lt 30 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
