# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: a Debian tree from Debian's packages, tagged with a hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .engine import STATE, Podman
from .shell import LabError, lock, run

LAB = Path(__file__).resolve().parent.parent
REPOSITORY = "localhost/kopano-lab"
# Documentation and translations are most of the files and nobody reads them here.
DPKG_OPTIONS = [
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
]


@dataclass(frozen=True)
class Release:
    """A Debian release of images.yml."""

    name: str
    debian: int
    php: str
    packages: tuple[str, ...]
    suite: str
    is_host: bool = True

    @property
    def registry_image(self) -> str | None:
        """An image that is built already, where the environment names one (KOPANO_LAB_IMAGE_BOOKWORM=…)."""
        return os.environ.get(f"KOPANO_LAB_IMAGE_{self.name.upper()}")

    @property
    def image(self) -> str:
        """The image's full name. Whatever changes the recipe changes the tag."""
        if self.registry_image:
            return self.registry_image
        recipe: list[Any] = [self.name, self.packages, DPKG_OPTIONS]
        if self.is_host:
            recipe += [path.read_text() for path in sorted((LAB / "image").iterdir())]
        return f"{REPOSITORY}/{self.name}:{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"


def releases() -> dict[str, Release]:
    """All releases of images.yml by name."""
    data = yaml.safe_load((LAB / "images.yml").read_text())
    return {
        name: Release(name, entry["debian"], entry["php"], tuple(sorted({*data["packages"], *entry["packages"]})), name)
        for name, entry in data["releases"].items()
    }


def dns_release() -> Release:
    """What the name server runs on."""
    data = yaml.safe_load((LAB / "images.yml").read_text())
    suite = data["dns"]["release"]
    return Release("dns", data["releases"][suite]["debian"], "", tuple(data["dns"]["packages"]), suite, is_host=False)


def ensure(podman: Podman, wanted: Iterable[Release]) -> None:
    """Have the images of these releases, building what is missing, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        for _done in pool.map(lambda release: _ensure(podman, release), sorted(set(wanted), key=lambda one: one.name)):
            pass


def remove_old(podman: Podman) -> None:
    """Remove the images of former recipes that no container uses."""
    current = {release.image for release in [*releases().values(), dns_release()]}
    for image in podman.json("images", "--filter", f"reference={REPOSITORY}/*"):
        for name in set(image.get("Names") or []) - current:
            podman.ok("rmi", name)


def _ensure(podman: Podman, release: Release) -> None:
    with lock(STATE / f"image-{release.name}.lock"):
        if podman.ok("image", "exists", release.image):
            return
        if release.registry_image:
            podman("pull", "--quiet", release.image, timeout=900)
            return
        print(f"building {release.image}", flush=True)
        _build(podman, release)


def _build(podman: Podman, release: Release) -> None:
    hook = LAB / "image" / "setup.sh"
    with tempfile.TemporaryDirectory(prefix="kopano-lab-") as folder:
        # A file of its own, not a pipe: only a tree that is complete is ever handed to podman.
        tree = Path(folder) / "tree.tar"
        command = ["mmdebstrap", "--quiet", "--variant=apt", "--include=" + ",".join(release.packages)]
        command += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
        # The hook's words go through a shell, which expands the two variables.
        command += ['--customize-hook="$KOPANO_LAB_HOOK" "$1"'] * release.is_host + [release.suite, str(tree)]
        try:
            run(command, env={"TMPDIR": folder, "KOPANO_LAB_HOOK": str(hook)})
        except LabError as error:
            raise LabError(f"image {release.name}: {error}") from error
        changes = ['CMD ["/sbin/init"]', "STOPSIGNAL SIGRTMIN+3", "ENV container=podman"]
        # In a private mount namespace the folder may not be visible: the tree goes through standard input.
        with tree.open("rb") as source:
            run_import = [*podman.prefix, "podman", "import", "--quiet"]
            for change in changes:
                run_import += ["--change", change]
            run([*run_import, "-", release.image], source=source)
