"""`restore_file`: one file from Python, as `tgjar restore` restores it, and without a word on the terminal."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.photo_files import exif, picture, swapped_profile
from tests.restoration.test_attention import CAPTION, weights  # noqa: F401  a fixture
from tgjar_arch.cli import restore
from tgjar_arch.restoration.file import RestoreSettings, restore_file
from tgjar_arch.restoration.restorer import Restorer


@pytest.fixture
def restorer(weights: Path) -> Restorer:  # noqa: F811
    return Restorer.from_pretrained(weights, 'cpu')


def test_it_is_what_the_command_writes(tmp_path: Path, weights: Path, restorer: Restorer,  # noqa: F811
                                       capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / 'bird.jpg'
    picture(120, 88).save(source, quality=5, exif=exif(6), comment=CAPTION)
    done = []
    report = restore_file(restorer, source, tmp_path / 'a.png', RestoreSettings(text_strength=2., tile=64),
                          progress=lambda *count: done.append(count))
    assert capsys.readouterr() == ('', '') and done[-1] == (8, 8)
    assert report.caption == (CAPTION, 'JPEG comment') and not report.skipped
    assert report.description.startswith('JPEG quality 5') and report.is_jpeg and not report.is_deep
    assert restore.main([str(source), '-o', str(tmp_path / 'b.png'), '--weights', str(weights), '--text-strength', '2',
                         '--tile', '64', '--device', 'cpu', '--quiet']) == 0
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


@pytest.mark.parametrize(('settings', 'skipped'), [
    (RestoreSettings(), False), (RestoreSettings(max_qf=40), True),
    (RestoreSettings(max_qf=40, better='restore'), False)])
def test_what_is_not_badly_compressed(tmp_path: Path, restorer: Restorer, settings: RestoreSettings,
                                      skipped: bool) -> None:
    picture().save(tmp_path / 'good.jpg', quality=90)
    report = restore_file(restorer, tmp_path / 'good.jpg', tmp_path / 'a.png', settings)
    assert report.skipped is skipped is (not (tmp_path / 'a.png').exists())
    assert (report.caption is None) is skipped


def test_the_caption_of_the_settings_goes_before_the_files(tmp_path: Path, restorer: Restorer) -> None:
    picture().save(tmp_path / 'bird.jpg', quality=5, comment=CAPTION)
    report = restore_file(restorer, tmp_path / 'bird.jpg', tmp_path / 'a.png', RestoreSettings(caption=''))
    assert report.caption.text == ''
    expected = restorer(np.asarray(Image.open(tmp_path / 'bird.jpg')))
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'a.png')), expected)


@pytest.mark.parametrize(('name', 'size', 'message'), [
    ('a.webp', (1, 16384), '16384, but WEBP holds sides up to 16383; write .png'),
    ('a.jpg', (1, 65501), '65501, but JPEG holds sides up to 65500; write .png'),
    ('a.jpg', None, 'partly transparent, which JPEG cannot hold')])
def test_what_the_format_cannot_hold_is_said_before_the_work(tmp_path: Path, name: str, size: tuple[int, int] | None,
                                                             message: str) -> None:
    image = Image.new('RGB', size) if size else picture().convert('RGBA')
    if size is None:
        image.putpixel((3, 4), (0, 0, 0, 0))
    image.save(tmp_path / 'x.png')

    def never(*args: object, **how: object) -> None:
        raise AssertionError('it was restored')

    with pytest.raises(ValueError, match=message):
        restore_file(never, tmp_path / 'x.png', tmp_path / name, RestoreSettings())  # type: ignore[arg-type]


def test_what_the_result_could_not_take_over_is_in_the_notes(tmp_path: Path, restorer: Restorer) -> None:
    profile = swapped_profile()
    picture().save(tmp_path / 'x.webp', icc_profile=profile + bytes(2**20 + 1 - len(profile)))
    report = restore_file(restorer, tmp_path / 'x.webp', tmp_path / 'a.png', RestoreSettings())
    assert report.notes == ('has a colour profile of 1,048,577 bytes, too large for PNG, so the result is converted to '
                            'sRGB',)
    assert 'icc_profile' not in Image.open(tmp_path / 'a.png').info
    copied = restore_file(restorer, tmp_path / 'x.webp', tmp_path / 'b.png', RestoreSettings(untraced='copy'))
    assert copied.skipped and copied.notes == report.notes
