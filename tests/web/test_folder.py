"""The temporary folder of the page."""

import os
from pathlib import Path

import pytest

from tgjar_arch.web.folder import Store, private_folder


def put(folder: Path, name: str, size: int, age: int) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    os.utime(file, (1_000_000 - age, 1_000_000 - age))
    return file


def test_is_the_users_alone_and_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), private_folder(tmp_path / 'page') as folder:  # noqa: PT012
        assert folder.stat().st_mode & 0o777 == 0o700
        put(folder, 'a/b/c.jpg', 3, 0)
        raise KeyboardInterrupt
    assert not (tmp_path / 'page').exists()


def test_a_folder_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path, 'page/theirs', 1, 0)
    with pytest.raises(FileExistsError), private_folder(tmp_path / 'page'):
        pass
    assert (tmp_path / 'page' / 'theirs').exists()


def test_the_oldest_go(tmp_path: Path) -> None:
    example = put(tmp_path, 'results/example.jpg', 100, 1000)
    store = Store(tmp_path, max_files=3, max_bytes=10)
    files = [put(tmp_path, f'uploads/{k}/{k}.jpg', 1, 100 - k) for k in range(5)]
    store.tidy()
    assert [file.exists() for file in files] == [False, False, True, True, True] and example.exists()
    assert not files[0].parent.exists() and files[2].parent.exists()
    large = put(tmp_path, 'uploads/large.png', 9, 0)
    store.tidy()
    assert [file.exists() for file in files[2:]] == [False, False, True] and large.exists()
    large.write_bytes(bytes(11))
    store.tidy()
    assert not large.exists() and not files[4].exists() and example.exists()
