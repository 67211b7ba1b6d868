import pytest


@pytest.fixture(scope="session")
def template(tmp_path_factory, own_cohort):
    """A folder with a whole cohort, which every case gets a copy of."""
    folder = tmp_path_factory.mktemp("cohort") / "mine"
    folder.mkdir()
    own_cohort(folder)
    return folder
