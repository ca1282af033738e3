# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the state of everything below a folder as JSON; runs on a host, from standard input.

{path: {"kind", "mode", "owner", "modified", "content"}}: content is a digest, or where a link leads; modified is in
nanoseconds. Only what lies on the folder's own file system counts.
"""

import hashlib
import json
import os
import stat
import sys


def state(path):
    found = os.lstat(path)
    content = None
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            content = hashlib.sha256(stream.read()).hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    return {
        "kind": stat.filemode(found.st_mode)[0],
        "mode": oct(stat.S_IMODE(found.st_mode)),
        "owner": "%d:%d" % (found.st_uid, found.st_gid),
        "modified": found.st_mtime_ns,
        "content": content,
    }


def tree(top):
    device = os.lstat(top).st_dev
    yield top
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.lstat(path).st_dev == device:
                yield path


json.dump({path: state(path) for top in sys.argv[1:] for path in tree(top)}, sys.stdout)
