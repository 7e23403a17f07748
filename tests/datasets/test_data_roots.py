"""Several data roots in one data set: what is drawn from which, and how often."""

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from basicsr.data import build_dataset, worker_init_fn
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import DataLoader

from tests.helpers.photo_set import assert_equal_items, photo, write_compressed, write_set
from tgjar_arch.datasets.data_roots import SampleShares
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset


@pytest.fixture
def options(tmp_path):
    """Return `make(**changes)`: a training set of `gt` (3 images) and `more` (9 of one word, captions elsewhere)."""
    base = write_set(tmp_path)
    (tmp_path / 'more').mkdir()
    (tmp_path / 'texts').mkdir()
    for k in range(9):
        cv2.imwrite(str(tmp_path / 'more' / f'm{k}.png'), photo(70, 80 + k))
        (tmp_path / 'texts' / f'm{k}.txt').write_text('second')
    roots = {'dataroot_gt': [base['dataroot_gt'], str(tmp_path / 'more')],
             'dataroot_text': [None, str(tmp_path / 'texts')]}
    return lambda **changes: base | roots | changes


def from_gt(dataset) -> int:
    return sum('/gt/' in item['gt_path'] for item in dataset)


def test_shares_of_an_epoch():
    shares = SampleShares([100, 10, 30], [1, 2, 1])
    assert len(shares) == 140 and shares.counts == [35, 70, 35]
    rng = random.Random(0)
    drawn = [shares.draw(k, rng) for k in range(len(shares))]
    assert [image < 100 for image in drawn] == [k < 35 for k in range(140)]
    assert [100 <= image < 110 for image in drawn] == [35 <= k < 105 for k in range(140)]
    assert set(Counter(image for image in drawn if 100 <= image < 110)) == set(range(100, 110))
    assert max(Counter(drawn[:35]).values()) <= 2
    assert shares.counts == SampleShares([100, 10, 30], [.5, 1, .5]).counts  # only the ratios count


def test_every_image_of_a_root_is_drawn_equally_often():
    shares, rng = SampleShares([7, 20], [3, 1]), random.Random(0)
    counts = Counter(shares.draw(k, rng) for _ in range(600) for k in range(len(shares)))
    for images, share in ((range(7), 20 / 7), (range(7, 27), 7 / 20)):
        assert all(counts[image] / 600 == pytest.approx(share, rel=.2) for image in images)


def test_a_root_of_hardly_any_weight_is_seen():
    assert SampleShares([10, 10], [1, 1e-9]).counts == [20, 1]


def test_without_weights_every_image_is_seen_once(options):
    dataset = build_dataset(options())
    assert len(dataset) == len(dataset.images) == 12
    assert len({item['gt_path'] for item in dataset}) == 12 and from_gt(dataset) == 3


@pytest.mark.parametrize('weights, of_gt, of_more', [([2, 1], 8, 4), ([1, 1], 6, 6), ([1, 2.0], 4, 8)])
def test_samples_follow_the_weights(options, weights, of_gt, of_more):
    dataset = PairedImageTextDataset(options(weights=weights))
    assert len(dataset) == of_gt + of_more and from_gt(dataset) == of_gt


def test_captions_of_each_root(options, tmp_path):
    for item in PairedImageTextDataset(options(phase='val')):
        expected = ('second',) if '/more/' in item['gt_path'] else ('first', 'second', 'third')
        assert item['caption'].split()[0] in expected and item['text_mask'].any()
    beside = tmp_path / 'more' / 'metadata.jsonl'
    beside.write_text('\n'.join(json.dumps({'file_name': f'm{k}.png', 'text': 'third'}) for k in range(9)))
    dataset = PairedImageTextDataset(options(phase='val', dataroot_text=None))
    assert [item['caption'] for item in dataset][3:] == ['third'] * 9


def test_classes_of_two_roots_are_not_the_same(options, tmp_path):
    beside = tmp_path / 'more' / 'metadata.jsonl'
    beside.write_text('\n'.join(json.dumps({'file_name': f'm{k}.png', 'text': 'third', 'class_id': k - 1})
                                for k in range(9)))
    dataset = PairedImageTextDataset(options(phase='val', dataroot_text=None))
    assert [item['class_id'] for item in dataset] == [4, 4, 7, -1, *range(8, 16)]


def test_validation_takes_all_and_is_always_the_same(options):
    dataset, again = (PairedImageTextDataset(options(phase='val', qf=[1, 10])) for _ in range(2))
    assert len(dataset) == 12
    for k in range(12):
        assert_equal_items(dataset[k], again[k])
    with pytest.raises(ValueError, match='weights are of training; validation and test take every image'):
        PairedImageTextDataset(options(phase='val', weights=[1, 1]))


def test_the_same_seed_draws_the_same_and_epochs_differ(options):
    """With BasicSR's sampler and seeding of the workers, as its trainer uses them."""

    def epochs() -> list[list[str]]:
        dataset = PairedImageTextDataset(options(weights=[2, 1], num_worker_per_gpu=2))
        sampler = EnlargedSampler(dataset, 1, 0, ratio=2)
        seed = partial(worker_init_fn, num_workers=2, rank=0, seed=3)
        generator = torch.Generator().manual_seed(1)
        loader = DataLoader(dataset, batch_size=1, sampler=sampler, num_workers=2, worker_init_fn=seed,
                            generator=generator)
        found = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found.append([f'{batch["gt_path"][0]} {batch["gt"].sum()}' for batch in loader])
        return found

    first, second = epochs()
    assert first != second and [first, second] == epochs()
    for epoch in (first, second):
        assert len(epoch) == 24 and sum('/gt/' in line for line in epoch) == 16


def test_compressed_files_of_each_root(options, tmp_path):
    write_compressed(tmp_path / 'gt', tmp_path / 'lq', qf=10)
    (tmp_path / 'more_lq').mkdir()
    for file in (tmp_path / 'more').iterdir():
        (tmp_path / 'more_lq' / f'{file.stem}.jpg').write_bytes(cv2.imencode('.jpg', cv2.imread(str(file)))[1])
    lists = {'dataroot_lq': [str(tmp_path / 'lq'), str(tmp_path / 'more_lq')], 'qf': None, 'gt_size': 48}
    dataset = PairedImageTextDataset(options(**lists, weights=[1, 1]))
    for item in dataset:
        assert Path(item['lq_path']).parent.name == 'more_lq' if '/more/' in item['gt_path'] else \
            item['lq_path'].startswith(str(tmp_path / 'lq'))


def test_a_broken_file_gives_way_to_another_of_its_root(options, tmp_path, log):
    for k in range(3, 9):
        (tmp_path / 'more' / f'm{k}.png').write_bytes(b'')
    dataset = PairedImageTextDataset(options(weights=[1, 1]))
    assert from_gt(dataset) == 6
    for k in range(3):
        (tmp_path / 'more' / f'm{k}.png').write_bytes(b'')
    with pytest.raises(RuntimeError, match=f'none of the 9 images of {tmp_path / "more"} can be used'):
        from_gt(PairedImageTextDataset(options(weights=[1, 1])))


def test_max_images_of_all_roots(options):
    dataset = PairedImageTextDataset(options(phase='val', max_images=4))
    assert [Path(item['gt_path']).stem for item in dataset] == ['ani.1', 'm0', 'm3', 'm6']
    with pytest.raises(ValueError, match='max_images leaves no image of data root 2 of 2'):
        PairedImageTextDataset(options(max_images=1, weights=[1, 1]))


@pytest.mark.parametrize('changes, message', [
    ({'weights': [1]}, r'weights: \[1\] must be a list of 2 numbers above 0'),
    ({'weights': [1, 0]}, 'numbers above 0'), ({'weights': [1, -2]}, 'numbers above 0'),
    ({'weights': [1, '2']}, 'numbers above 0'), ({'weights': [True, 1]}, 'numbers above 0'),
    ({'weights': [1, float('inf')]}, 'numbers above 0'), ({'weights': 2}, 'must be a list of 2'),
    ({'dataroot_text': 'texts'}, "dataroot_text: 'texts' must be a list of 2 paths, one for each of"),
    ({'dataroot_text': ['texts']}, r"dataroot_text: \['texts'\] must be a list of 2 paths"),
    ({'dataroot_lq': ['a'], 'qf': None}, r"dataroot_lq: \['a'\] must be a list of 2 paths"),
    ({'dataroot_gt': [None, 'a']}, r'dataroot_gt: \[None, .a.\] must be a path, or a list of paths'),
    ({'dataroot_gt': []}, r'dataroot_gt: \[\] must be a path, or a list of paths'),
    ({'dataroot_gt': 'gt', 'dataroot_text': [None]}, r'dataroot_text: \[None\] must be one path'),
])
def test_wrong_lists(options, changes, message):
    with pytest.raises(ValueError, match=message):
        PairedImageTextDataset(options(**changes))
