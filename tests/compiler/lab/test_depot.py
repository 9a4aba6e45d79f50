"""The depot: what is put there is found again, and nothing else is touched."""

from __future__ import annotations

import asyncio

import pytest

from compiler.lab.depot import Depot
from elastiq import digest

DATA = b"a weight"
NAME = digest.of_bytes(DATA)


def test_a_file_comes_in_parts_and_is_there_when_it_is_whole(tmp_path):
    depot = Depot(tmp_path)

    async def sent():
        draft = await depot.put(NAME, "", DATA[:3], last=False)
        assert await depot.lacks([NAME]) == [NAME]
        await depot.put(NAME, draft, DATA[3:], last=True)
        return await depot.lacks([NAME]), await depot.get(NAME, 2)

    assert asyncio.run(sent()) == ([], DATA[2:])
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_what_is_not_what_its_name_says_is_not_kept(tmp_path):
    with pytest.raises(ValueError, match="arrived damaged"):
        asyncio.run(Depot(tmp_path).put(NAME, "", b"another", last=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a/b"])
def test_names_lead_nowhere_else(tmp_path, name):
    depot = Depot(tmp_path / "files")
    (tmp_path / "files").mkdir()
    (tmp_path / "secret").write_bytes(DATA)
    for asked in (
        depot.get(name, 0),
        depot.lacks([name]),
        depot.put(NAME, name or "/", DATA, True),
    ):
        with pytest.raises(ValueError, match="is not the name of a file here"):
            asyncio.run(asked)
    assert not list((tmp_path / "files").iterdir())
