# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: a tree from Debian's packages and what its family's recipe makes of it, tagged with a hash of the recipe."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .engine import STATE, Podman
from .shell import LabError, lock, retry, run

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
class Family:
    """A family of distributions of images.yml, where the fields are explained."""

    name: str
    recipe: tuple[str, ...]
    certificate: str
    key_file: str
    log_dir: str
    include_dir: str
    document_root: str
    user: str
    group: str
    nginx_user: str
    fastcgi: str
    kdav_socket: str
    units: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Release:
    """A release of images.yml; debian and suite are the Debian release that its programs come from."""

    name: str
    debian: int
    php: str
    packages: tuple[str, ...]
    suite: str
    family: Family | None  # of a host

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
        for folder in self.family.recipe if self.family else []:
            recipe += [path.read_text() for path in sorted((LAB / folder).rglob("*")) if path.is_file()]
        return f"{REPOSITORY}/{self.name}:{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"


def releases() -> dict[str, Release]:
    """All releases of images.yml by name."""
    data = yaml.safe_load((LAB / "images.yml").read_text())
    result = {}
    for name, entry in data["releases"].items():
        family = entry.get("family", "debian")
        of_family = dict(data["families"][family])
        packages = tuple(sorted({*data["packages"], *of_family.pop("packages"), *entry["packages"]}))
        of_family |= {"recipe": tuple(of_family["recipe"]), "units": tuple(of_family["units"].items())}
        suite = entry.get("suite", name)
        result[name] = Release(name, entry["debian"], entry["php"], packages, suite, Family(family, **of_family))
    return result


def dns_release() -> Release:
    """What the name server runs on."""
    data = yaml.safe_load((LAB / "images.yml").read_text())
    suite = data["dns"]["release"]
    return Release("dns", data["releases"][suite]["debian"], "", tuple(data["dns"]["packages"]), suite, None)


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
        # Hundreds of packages come over the network, and one that does not arrive ends the build.
        retry(f"image {release.name}", lambda: _build(podman, release))


def _build(podman: Podman, release: Release) -> None:
    with tempfile.TemporaryDirectory(prefix="kopano-lab-") as folder:
        # A file of its own, not a pipe: only a tree that is complete is ever handed to podman.
        tree = Path(folder) / "tree.tar"
        command = ["mmdebstrap", "--quiet", "--variant=apt", "--include=" + ",".join(release.packages)]
        command += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
        environment = {"TMPDIR": folder}
        try:
            if release.family:
                recipe = LAB / release.family.recipe[0]
                # The hook's words go through a shell, which expands the two variables.
                command.append('--customize-hook="$KOPANO_LAB_HOOK" "$1"')
                environment |= {"KOPANO_LAB_HOOK": str(recipe / "setup.sh"), "KOPANO_LAB_SOURCES": folder}
                environment |= {"KOPANO_LAB_COMPILED": str(LAB.parent / ".cache" / "lab" / "compiled")}
                _fetch_sources(recipe / "sources.txt", folder)
            run([*command, release.suite, tree], env=environment, timeout=3600)
        except LabError as error:
            raise LabError(f"image {release.name}: {error}") from error
        changes = ['CMD ["/sbin/init"]', "STOPSIGNAL SIGRTMIN+3", "ENV container=podman"]
        # In a private mount namespace the folder may not be visible: the tree goes through standard input.
        with tree.open("rb") as source:
            run_import = [*podman.prefix, "podman", "import", "--quiet"]
            for change in changes:
                run_import += ["--change", change]
            run([*run_import, "-", release.image], source=source)


def _fetch_sources(requirements: Path, folder: str) -> None:
    """Have the archives that a recipe builds from, where it has a list of them with their hashes."""
    if requirements.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        command += ["--use-pep517", "--no-build-isolation"]  # with sources/ in the place of setuptools
        command += ["--require-hashes", "--dest", folder, "--requirement", str(requirements)]
        run(command, env={"PYTHONPATH": str(LAB / "sources")})
