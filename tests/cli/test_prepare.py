"""`tgjar prepare`: from the published layouts to folders of images with captions."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tgjar_arch.cli.prepare import main
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.datasets.prepare import coco, cub, kodak, oxford102
from tgjar_arch.datasets.prepare.pipeline import Encoding, Item, Plan, load, resize_shorter, run_split
from tgjar_arch.text.caption_files import read_metadata

BIRDS = {  # name: class, box, width and height of the image
    '004.Groove_billed_Ani/Ani_0001_1': (4, (10.0, 20.0, 40.0, 30.0), (90, 80)),
    '005.Crested_Auklet/Auklet_0001_2': (5, (0.0, 0.0, 20.0, 60.0), (80, 90)),
    '005.Crested_Auklet/Auklet_0002.v2_3': (5, (30.0, 20.0, 20.0, 20.0), (100, 70)),
}


def picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    """Write a smooth picture, which resizing and JPEG change little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    Image.fromarray(corners).resize((width, height), Image.BICUBIC).save(path, quality=95)


@pytest.fixture
def birds(tmp_path):
    """CUB's layout with three images."""
    root = tmp_path / 'birds' / 'CUB_200_2011'
    lines = {'images.txt': [], 'image_class_labels.txt': [], 'bounding_boxes.txt': []}
    for number, (name, (class_id, box, size)) in enumerate(BIRDS.items(), start=7):
        picture(root / 'images' / f'{name}.jpg', *size, seed=number)
        text = tmp_path / 'birds' / 'text' / f'{name}.txt'
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f'a bird of class {class_id}\nbird {number}\n')
        for file, values in zip(lines, ((f'{name}.jpg',), (class_id,), box), strict=True):
            lines[file].append(' '.join(map(str, (number, *values))))
    for file, content in lines.items():
        (root / file).write_text('\n'.join(content) + '\n')
    return tmp_path / 'birds'


def prepare(*arguments) -> int:
    return main([*map(str, arguments), '--quiet', '--jobs', '1', '--subset'])


def records(folder: Path) -> dict[str, tuple[list[str], int]]:
    return {name: (captions, class_id) for name, captions, class_id in read_metadata(folder / 'metadata.jsonl')}


def test_bird_crop_by_hand():
    assert cub.bird_crop((10.0, 20.0, 40.0, 30.0), 90, 80) == (0, 5, 60, 65)  # centre (30, 35), radius 30
    assert cub.bird_crop((60.0, 49.0, 41.0, 21.0), 100, 70) == (50, 29, 100, 70)  # centre (80, 59), radius int(30.75)


def test_cub(birds, tmp_path, capsys):
    out = tmp_path / 'cub'
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    printed = capsys.readouterr().out
    assert "AttnGAN's 50 test classes" in printed and f'{out / "train"}: 2 images (2 new), 0 failed' in printed
    assert records(out / 'test') == {
        '004.Groove_billed_Ani/Ani_0001_1.png': (['a bird of class 4', 'bird 7'], 4)}
    assert list(records(out / 'train').values()) == [(['a bird of class 5', 'bird 8'], 5),
                                                     (['a bird of class 5', 'bird 9'], 5)]
    name = '004.Groove_billed_Ani/Ani_0001_1'
    with Image.open(out / 'test' / f'{name}.png') as result:
        assert result.size == (48, 48) and result.mode == 'RGB'
        with Image.open(birds / 'CUB_200_2011' / 'images' / f'{name}.jpg') as original:
            expected = original.crop((0, 5, 60, 65)).resize((48, 48), Image.BILINEAR)
        assert np.array_equal(np.asarray(result), np.asarray(expected))
    # what the readers of the training make of it
    images, report = read_captions(out / 'train')
    assert [image.name for image in images] == ['005.Crested_Auklet/Auklet_0001_2',
                                                '005.Crested_Auklet/Auklet_0002.v2_3']
    assert not report.without_caption and not report.missing_images
    assert read_captions(out / 'train')[0][0].class_id == 5


def test_a_second_run_keeps_what_is_there_and_makes_what_is_missing(birds, tmp_path, capsys):
    out = tmp_path / 'cub'
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    first = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob('*') if path.is_file()}
    capsys.readouterr()
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    assert 'images (0 new)' in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in first} == first

    gone = out / 'train' / '005.Crested_Auklet' / 'Auklet_0001_2.png'
    gone.write_bytes(b'')  # a file that a crash of the machine left empty is no result
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    assert '2 images (1 new)' in capsys.readouterr().out and gone.read_bytes() == first[gone][1]
    assert {path for path in out.rglob('*') if path.is_file()} == set(first)


@pytest.mark.parametrize('form', ['png', 'webp', 'jpg'])
def test_a_second_run_makes_again_what_is_damaged(birds, tmp_path, capsys, form):
    out = tmp_path / 'cub'
    arguments = ['cub', birds, '-o', out, '--size', 48, '--format', form, '--lmdb']
    assert prepare(*arguments) == 0
    first = {path: path.read_bytes() for path in out.rglob(f'*.{form}')}
    cut, other, third = sorted(first)
    cut.write_bytes(first[cut][:-2] if form == 'jpg' else first[cut][:len(first[cut]) // 2])
    Image.open(other).resize((48, 50)).save(other)  # of another run's size
    stamp = third.stat().st_mtime_ns
    capsys.readouterr()
    assert prepare(*arguments) == 0
    printed = capsys.readouterr().out
    assert sum(int(count) for count in re.findall(r'\((\d) new\)', printed)) == 2
    assert {path: path.read_bytes() for path in first} == first and third.stat().st_mtime_ns == stamp
    for split in ('train', 'test'):  # the lmdb had copied the damaged ones if it was made of them
        folder, lmdb = ImageSource(out / split), ImageSource(out / f'{split}.lmdb')
        assert all(lmdb.read(name) == folder.read(name) for name in folder.files)


def test_an_lmdb_is_replaced_when_an_image_is_newer(birds, tmp_path):
    out = tmp_path / 'cub'
    assert prepare('cub', birds, '-o', out, '--size', 48, '--lmdb') == 0
    path, = (out / 'test').rglob('*.png')
    name = path.relative_to(out / 'test').with_suffix('').as_posix()
    Image.open(path).rotate(180).save(path)
    assert prepare('cub', birds, '-o', out, '--size', 48, '--lmdb') == 0
    assert ImageSource(out / 'test.lmdb').read(name) == path.read_bytes()


def test_what_is_damaged_goes_even_if_it_cannot_be_made_again(birds, tmp_path, capsys):
    out = tmp_path / 'cub'
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    first, second, third = (out / part / f'{name}.png' for part, name in zip(('test', 'train', 'train'), BIRDS,
                                                                             strict=True))
    for name in list(BIRDS)[1:]:
        (birds / 'CUB_200_2011' / 'images' / f'{name}.jpg').unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert prepare('cub', birds, '-o', out, '--size', 48) == 1
    assert first.is_file() and not second.exists() and third.is_file()  # whole, though its original is gone
    assert capsys.readouterr().err.count('failed: ') == 1 and len(records(out / 'train')) == 1


def test_broken_and_missing_files_are_listed_and_the_rest_is_prepared(birds, tmp_path, capsys):
    images, out = birds / 'CUB_200_2011' / 'images', tmp_path / 'cub'
    broken, missing, bare = (images / f'{name}.jpg' for name in BIRDS)
    content = broken.read_bytes()
    broken.write_bytes(content[:len(content) // 2])
    missing.unlink()
    assert prepare('cub', birds, '-o', out, '--size', 48) == 1
    failed = capsys.readouterr().err.splitlines()
    assert failed[0] == f'failed: {missing}: there is no such file'
    assert failed[1].startswith(f'failed: {broken}: OSError: image file is truncated') and len(failed) == 2
    assert list(records(out / 'train')) == ['005.Crested_Auklet/Auklet_0002.v2_3.png']
    assert not [path for path in out.rglob('*') if path.name.endswith('.tmp')] and not (out / 'test').exists()

    broken.write_bytes(content)
    picture(missing, 80, 90)
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    assert len(records(out / 'train')) == 2 and len(records(out / 'test')) == 1

    (birds / 'text' / bare.relative_to(images).with_suffix('.txt')).unlink()
    assert prepare('cub', birds, '-o', tmp_path / 'again', '--size', 48) == 1
    assert f'failed: {bare}: it has no caption in {birds / "text"}' in capsys.readouterr().err


def test_counts_are_asserted(birds, tmp_path, capsys):
    assert main(['cub', str(birds), '-o', str(tmp_path / 'cub')]) == 2
    assert ('expected 8,855 (train), found 2; 2,933 (test), found 1 images. To prepare what is there, give --subset.'
            in capsys.readouterr().err)
    assert not (tmp_path / 'cub').exists()


def test_only_its_own_folder_is_written_to(birds, tmp_path, capsys):
    out = tmp_path / 'data'
    out.mkdir()
    (out / 'mine.txt').write_text('mine')
    assert prepare('cub', birds, '-o', out) == 2
    assert 'is not empty, and not a result of `tgjar prepare`' in capsys.readouterr().err
    (out / 'mine.txt').unlink()
    assert prepare('cub', birds, '-o', out, '--size', 48) == 0
    for other in (['cub', birds, '--size', '32'], ['cub', birds, '--size', '48', '--format', 'jpg'],
                  ['cub', birds, '--size', '48', '--split', classes(tmp_path)], ['kodak', kodak_folder(tmp_path)]):
        assert prepare(*other, '-o', out) == 2
        assert 'was prepared with' in capsys.readouterr().err
    assert prepare('cub', birds, '-o', birds / 'CUB_200_2011' / 'images.txt') == 2
    assert 'is a file' in capsys.readouterr().err


def classes(folder: Path) -> Path:
    (folder / 'testclasses.txt').write_text('class_00005\n')
    return folder / 'testclasses.txt'


def kodak_folder(folder: Path) -> Path:
    for name in ('kodim03', 'kodim23'):
        picture(folder / 'kodak' / f'{name}.png', 36, 24)
    return folder / 'kodak'


def test_default_classes():
    assert len(set(cub.TEST_CLASSES)) == 50 and max(cub.TEST_CLASSES) <= 200
    assert len(set(oxford102.TEST_CLASSES)) == 20 and max(oxford102.TEST_CLASSES) <= oxford102.CLASSES
    assert sum(cub.EXPECTED.values()) == 11788 and sum(oxford102.EXPECTED.values()) == 8189


def test_oxford102(tmp_path, capsys):
    root = tmp_path / 'flowers'
    for number, class_id in ((1, 5), (2, 6), (3, 6)):
        text = root / 'text_c10' / f'class_{class_id:05}' / f'image_{number:05}.txt'
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f'flower {number}\n')
        picture(root / 'jpg' / f'image_{number:05}.jpg', 60, 80, number)
    picture(root / 'jpg' / 'image_00004.jpg', 60, 80)
    (root / 'jpg' / 'image_00003.jpg').unlink()
    out = tmp_path / 'out'
    assert prepare('oxford102', root, '-o', out, '--size', 32, '--format', 'webp', '--quality', 90) == 1
    captured = capsys.readouterr()
    assert 'drawn at random, not the published list; for that give --split' in captured.out
    assert captured.err.splitlines() == [
        f'failed: {root / "jpg" / "image_00004.jpg"}: it has no captions under {root / "text_c10"}',
        f'failed: {root / "jpg" / "image_00003.jpg"}: there is no such file']
    assert records(out / 'test') == {'image_00001.webp': (['flower 1'], 5)}
    assert records(out / 'train') == {'image_00002.webp': (['flower 2'], 6)}
    with Image.open(out / 'test' / 'image_00001.webp') as image:
        assert image.format == 'WEBP' and image.size == (32, 43)  # 32 * 80 / 60 = 42.67
    assert main(['oxford102', str(root), '-o', str(tmp_path / 'all')]) == 2
    assert 'expected 8,189 (total), found 3 images' in capsys.readouterr().err
    assert main(['oxford102', str(root), '-o', str(tmp_path / 'all'), '--split', str(classes(tmp_path))]) == 2
    assert 'expected 7,034 (train), found 2; 1,155 (test), found 1 images' in capsys.readouterr().err


def test_coco(tmp_path, capsys):
    root = tmp_path / 'coco'
    names = {30: '000000000030.jpg', 4: '000000000004.jpg', 17: '000000000017.jpg'}
    (root / 'annotations').mkdir(parents=True)
    annotations = [{'id': 100 - 10 * i, 'image_id': key, 'caption': f'caption\n {i}. '} for key in names
                   for i in range(7)]
    (root / 'annotations' / 'captions_val2017.json').write_text(json.dumps(
        {'images': [{'id': key, 'file_name': name} for key, name in names.items()], 'annotations': annotations}))
    for name in names.values():
        picture(root / 'val2017' / name, 50, 40)
    out = tmp_path / 'out'
    assert prepare('coco', root, '-o', out, '--size', 32, '--format', 'jpg', '--test-images', 2) == 0
    assert records(out / 'test') == {
        f'{number:012}.jpg': ([f'caption {i}.' for i in (6, 5, 4, 3, 2)], -1) for number in (4, 17)}
    assert main(['coco', str(root), '-o', str(tmp_path / 'all')]) == 2
    assert 'expected 118,287 (train), found 0; 1,000 (test), found 3' in capsys.readouterr().err
    assert coco.plan(root, 0).expected == {'train': 118287, 'test': 5000}

    (root / 'annotations' / 'captions_val2017.json').write_text('{"images": []}')
    assert prepare('coco', root, '-o', out) == 2
    assert "is no file of COCO captions (KeyError: 'annotations')" in capsys.readouterr().err


def test_kodak(tmp_path, capsys):
    captions = kodak.paper_captions()
    assert list(captions) == [f'kodim{number:02}' for number in range(1, 25)]
    assert captions['kodim23'] == 'two colorful parrots standing next to each other.'
    root = kodak_folder(tmp_path)
    assert prepare('kodak', root, '-o', tmp_path / 'some') == 0
    assert records(tmp_path / 'some' / 'test')['kodim23.png'] == ([captions['kodim23']], -1)
    pixels = [np.asarray(Image.open(folder / 'kodim23.png')) for folder in (root, tmp_path / 'some' / 'test')]
    assert np.array_equal(*pixels)
    capsys.readouterr()
    assert main(['kodak', str(root), '-o', str(tmp_path / 'all'), '--quiet', '--jobs', '1']) == 1
    failed = capsys.readouterr().err.splitlines()
    assert len(failed) == 22 and failed[0] == f'failed: {root / "kodim01.png"}: there is no such file'


def test_lmdb_is_what_the_folder_is(birds, tmp_path):
    out = tmp_path / 'cub'
    assert prepare('cub', birds, '-o', out, '--size', 48, '--lmdb') == 0
    folder, lmdb = ImageSource(out / 'train'), ImageSource(out / 'train.lmdb')
    assert list(lmdb.files) == list(folder.files)
    assert all(lmdb.read(name) == folder.read(name) for name in folder.files)
    image = cv2.imdecode(np.frombuffer(lmdb.read('005.Crested_Auklet/Auklet_0001_2'), np.uint8), cv2.IMREAD_COLOR)
    assert min(image.shape[:2]) == 48
    assert read_captions(lmdb)[0] == read_captions(folder)[0]
    assert '.png (48,48,3) 1' in (out / 'train.lmdb' / 'meta_info.txt').read_text().splitlines()[1]
    before = (out / 'train.lmdb' / 'data.mdb').stat().st_mtime_ns
    assert prepare('cub', birds, '-o', out, '--size', 48, '--lmdb') == 0
    assert (out / 'train.lmdb' / 'data.mdb').stat().st_mtime_ns == before


def test_processes_give_the_same_as_one(birds, tmp_path):
    items = [item for part in cub.plan(birds).splits.values() for item in part]
    items += [Item(tmp_path / 'no.jpg', 'no', ('x',))]
    results = [run_split(items, tmp_path / str(jobs) / 'all', Encoding(40), jobs, quiet=True) for jobs in (1, 2)]
    assert results[0] == results[1] and results[0].written == 3
    files = [{path.relative_to(tmp_path / jobs): path.read_bytes() for path in (tmp_path / jobs).rglob('*.*')
              if path.is_file()} for jobs in '12']
    assert files[0] == files[1] and len(files[0]) == 4


def test_grey_images_become_rgb_and_deeper_ones_are_refused(tmp_path):
    Image.fromarray(np.full((8, 9), 77, np.uint8)).save(tmp_path / 'grey.png')
    Image.fromarray(np.full((8, 9), 7777, np.uint16)).save(tmp_path / 'deep.png')
    grey = load(Item(tmp_path / 'grey.png', 'grey', ()))
    assert grey.mode == 'RGB' and grey.getpixel((0, 0)) == (77, 77, 77)
    with pytest.raises(ValueError, match='8 bits a channel'):
        load(Item(tmp_path / 'deep.png', 'deep', ()))
    with pytest.raises(ValueError, match='leaves nothing of 9 x 8 pixels'):
        load(Item(tmp_path / 'grey.png', 'grey', (), crop=lambda width, height: (9, 0, 9, 8)))


@pytest.mark.parametrize(('size', 'expected'), [((402, 389), (314, 304)), ((352, 434), (304, 375)),
                                                ((304, 304), (304, 304)), ((100, 50), (608, 304))])
def test_resize_shorter(size, expected):
    assert resize_shorter(Image.new('RGB', size), 304).size == expected


def test_total_counts_all_splits():
    item = Item(Path('x'), 'x', ())
    Plan('x', {'train': [item], 'test': [item, item]}, {'total': 3, 'test': 2}).check_counts()
    with pytest.raises(ValueError, match='expected 4 .total., found 3 images'):
        Plan('x', {'train': [item], 'test': [item, item]}, {'total': 4}).check_counts()


@pytest.mark.parametrize(('arguments', 'message'), [
    (['cub', 'nowhere'], 'there is no folder nowhere'), (['cub', '.'], 'images.txt is missing'),
    (['oxford102', '.'], 'jpg is missing'), (['coco', '.'], 'has no annotations/captions_train2017.json'),
    (['kodak', '.'], 'has none of kodim01.png'),
])
def test_wrong_sources_say_what_is_expected(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, '-o', 'out']) == 2
    assert message in capsys.readouterr().err and not Path('out').exists()


@pytest.mark.parametrize('arguments', [['--quality', '90'], ['--format', 'jpg', '--quality', '0'], ['--size', '4'],
                                       ['--jobs', '0']])
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(['cub', 'x', '-o', 'y', *arguments])
    assert exit_info.value.code == 2
