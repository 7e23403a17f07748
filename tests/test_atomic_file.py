"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from tgjar_arch.atomic_file import atomic


@pytest.mark.parametrize('durable', [False, True])
def test_the_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / 'deep' / 'a.txt'
    with atomic(path, durable) as temporary:
        temporary.write_text('first')
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == '.tmp'
    assert path.read_text() == 'first'
    with pytest.raises(OSError, match='disk'), atomic(path, durable) as temporary:
        temporary.write_text('hal')
        raise OSError('the disk is full')
    assert path.read_text() == 'first' and list(path.parent.iterdir()) == [path]
    with atomic(str(path), durable) as temporary:
        temporary.write_text('second')
    assert path.read_text() == 'second'


def test_a_path_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    with pytest.raises(OSError), atomic(tmp_path / 'a') as temporary:
        temporary.touch()
    assert list(tmp_path.iterdir()) == [tmp_path / 'a']
