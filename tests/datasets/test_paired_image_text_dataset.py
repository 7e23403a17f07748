"""Items of the dataset: crops, compression, captions, determinism, loaders."""

import json
import pickle
import random
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset, worker_init_fn
from torch.utils.data import DataLoader

from tests.helpers.photo_set import CAPTIONS, SIZES, assert_equal_items, photo, pixels, write_set
from tgjar_arch.datasets.paired_image_text_dataset import PairedImageTextDataset
from tgjar_arch.jpeg.codec import compress


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'gt'


@pytest.fixture
def options(tmp_path):
    """Return `make(**changes)`, the options of a training set."""
    base = write_set(tmp_path)
    return lambda **changes: base | changes


def test_training_item(options, root):
    random.seed(0)
    dataset = build_dataset(options())
    assert len(dataset) == 3
    item = dataset[0]
    assert set(item) == {'lq', 'gt', 'text', 'text_mask', 'caption', 'class_id', 'qf', 'lq_path', 'gt_path'}
    for key in ('lq', 'gt'):
        assert item[key].shape == (3, 64, 64) and item[key].dtype == torch.float32 and item[key].is_contiguous()
        assert 0 <= item[key].min() < item[key].max() <= 1
    assert item['text'].dtype == torch.int64 and item['text_mask'].dtype == torch.bool
    assert item['text'].shape == item['text_mask'].shape == (5,)
    assert item['caption'] in CAPTIONS['004.Groove_billed_Ani/ani.1']
    assert item['class_id'] == 4 and item['qf'] == 5
    assert item['lq_path'] == item['gt_path'] == str(root / '004.Groove_billed_Ani/ani.1.png')
    assert dataset.tokenizer_json == dataset.tokenizer.to_json()


def test_compressed_after_crop_and_flip(options):
    random.seed(0)
    dataset = PairedImageTextDataset(options(qf={'min': 1, 'max': 40}))
    source = photo(*SIZES['cup of coffee'])
    seen, quality = set(), set()
    for _ in range(40):
        item = dataset[2]
        gt = pixels(item['gt'])
        assert np.array_equal(pixels(item['lq']), compress(gt, item['qf']))
        for flipped in (False, True):
            crop = np.ascontiguousarray(gt[:, ::-1] if flipped else gt)
            match = cv2.matchTemplate(source, crop, cv2.TM_SQDIFF)  # rounded differently from one processor to another
            top, left = np.unravel_index(match.argmin(), match.shape)
            if np.array_equal(source[top:top + crop.shape[0], left:left + crop.shape[1]], crop):
                seen.add((int(top) % 8, int(left) % 8, flipped))
        quality.add(item['qf'])
    assert len(seen) > 20 and {flip for *_, flip in seen} == {False, True}
    assert len(quality) > 15


def test_no_flip_without_use_hflip(options):
    dataset = PairedImageTextDataset(options(use_hflip=False, gt_size=80))
    expected = photo(80, 80)
    assert all(np.array_equal(pixels(dataset[1]['gt']), expected) for _ in range(20))


def test_validation_is_the_whole_image_and_always_the_same(options):
    dataset = PairedImageTextDataset(options(phase='val', gt_size=None, qf=[1, 10],
                                             double_jpeg={'prob': 0.5, 'qf': {'min': 20, 'max': 90}}))
    again = PairedImageTextDataset(options(phase='test', gt_size=None, qf=[1, 10],
                                           double_jpeg={'prob': 0.5, 'qf': {'min': 20, 'max': 90}}))
    for k, (name, size) in enumerate(SIZES.items()):
        random.seed(k)
        first = dataset[k]
        assert_equal_items(first, dataset[k])
        assert_equal_items(first, again[k])
        assert np.array_equal(pixels(first['gt']), photo(*size))
        assert first['caption'] == CAPTIONS[name][0]
        assert dataset.tokenizer.decode(first['text']) == CAPTIONS[name][0].split()[:5]
        assert first['qf'] == [1, 10, 1][k]


def test_validation_crops_the_centre_and_keeps_smaller_images_whole(options):
    dataset = PairedImageTextDataset(options(phase='val', gt_size=96))
    assert np.array_equal(pixels(dataset[0]['gt']), photo(96, 112)[:, 8:104])
    assert dataset[1]['gt'].shape == (3, 80, 80)
    assert dataset[2]['gt'].shape == (3, 96, 90)


def test_iteration_ends_and_negative_indices_count_from_the_end(options):
    for phase in ('train', 'val'):
        dataset = PairedImageTextDataset(options(phase=phase, qf=[1, 2, 3, 4]))
        assert len(list(dataset)) == 3
        assert dataset[-1]['gt_path'] == dataset[2]['gt_path']
    assert_equal_items(dataset[-1], dataset[2])


def test_chroma_drop_compresses_in_grey(options):
    random.seed(0)
    half = PairedImageTextDataset(options(chroma_drop=0.5, qf=90))
    items = [half[0] for _ in range(100)]
    grey = [bool((item['lq'].amax(dim=0) - item['lq'].amin(dim=0)).max() < 0.02) for item in items]
    assert 0.35 < np.mean(grey) < 0.65
    for item in items:
        assert (item['gt'].amax(dim=0) - item['gt'].amin(dim=0)).max() > 0.2  # the target keeps its colours
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    item = items[grey.index(True)]
    assert ((item['lq'] - item['gt']) * weights).sum(dim=0).abs().mean() < 0.01  # and the JPEG its brightness
    colours = PairedImageTextDataset(options(phase='val', chroma_drop=1.0))[0]['lq']
    assert (colours.amax(dim=0) - colours.amin(dim=0)).max() > 0.2


def test_resized_before_crop_and_compression(options):
    random.seed(0)
    dataset = PairedImageTextDataset(options(scale_range=[0.5, 0.5], gt_size=40, use_hflip=False))
    expected = cv2.resize(photo(80, 80), (40, 40), interpolation=cv2.INTER_AREA)
    item = dataset[1]
    assert np.array_equal(pixels(item['gt']), expected)
    assert np.array_equal(pixels(item['lq']), compress(expected, item['qf']))
    # Not below gt_size.
    larger = PairedImageTextDataset(options(scale_range=[0.1, 0.1], gt_size=64, use_hflip=False))[1]
    assert np.array_equal(pixels(larger['gt']), cv2.resize(photo(80, 80), (64, 64), interpolation=cv2.INTER_AREA))
    enlarged = pixels(PairedImageTextDataset(options(scale_range=[2, 2], gt_size=64, use_hflip=False))[1]['gt'])
    source = cv2.resize(photo(80, 80), (160, 160), interpolation=cv2.INTER_CUBIC)
    match = cv2.matchTemplate(source, enlarged, cv2.TM_SQDIFF)
    top, left = np.unravel_index(match.argmin(), match.shape)
    assert np.array_equal(source[top:top + 64, left:left + 64], enlarged)
    whole = PairedImageTextDataset(options(phase='val', gt_size=None, scale_range=[0.5, 0.5]))[1]
    assert whole['gt'].shape == (3, 80, 80)  # only in training
    several = PairedImageTextDataset(options(scale_range=[0.6, 1], gt_size=64, use_hflip=False))
    assert len({several[0]['gt'].mean().item() for _ in range(8)}) == 8


def test_captions_in_training(options):
    random.seed(1)
    dataset = PairedImageTextDataset(options())
    items = [dataset[0] for _ in range(60)]
    assert {item['caption'] for item in items} == set(CAPTIONS['004.Groove_billed_Ani/ani.1'])
    texts = set()
    for item in items:
        ids = item['text'].tolist()
        caption = dataset.tokenizer.encode(item['caption'])
        assert item['text_mask'].all() and [i for i in caption if i in ids] == ids
        texts.add(tuple(ids))
    assert len(texts) > 30


def test_caption_drop(options):
    random.seed(0)
    dropped = PairedImageTextDataset(options(caption_drop=1))[0]
    assert dropped['caption'] == '' and not dropped['text_mask'].any() and not dropped['text'].any()
    half = PairedImageTextDataset(options(caption_drop=0.5))
    share = np.mean([half[0]['caption'] == '' for _ in range(200)])
    assert 0.4 < share < 0.6
    assert PairedImageTextDataset(options(phase='val', caption_drop=0.9))[0]['text_mask'].any()
    assert not PairedImageTextDataset(options(phase='val', caption_drop=1.0))[0]['text_mask'].any()


def test_without_tokenizer_there_are_captions_but_no_ids(options):
    dataset = PairedImageTextDataset(options(tokenizer=None))
    item = dataset[0]
    assert 'text' not in item and 'text_mask' not in item
    assert item['caption'] in CAPTIONS['004.Groove_billed_Ani/ani.1']
    assert dataset.tokenizer is None and dataset.tokenizer_json is None


def test_images_without_caption_stay_and_are_counted(options, root, log):
    lines = (root / 'metadata.jsonl').read_text().splitlines()
    lines[1:] = [json.dumps({'file_name': 'lost.png', 'captions': ['x']})]
    (root / 'metadata.jsonl').write_text('\n'.join(lines))
    (root / 'cup of coffee.txt').write_text('!!!\nfirst cup')
    (root / 'notes.txt').write_text('not for an image')
    dataset = PairedImageTextDataset(options(phase='val'))
    assert [item['caption'] for item in dataset] == [CAPTIONS['004.Groove_billed_Ani/ani.1'][0], '', 'first cup']
    assert [bool(item['text_mask'].any()) for item in dataset] == [True, False, True]
    text = '\n'.join(log.messages)
    for line in ('1 metadata entries have no image: lost', '1 images have no caption and go without text: '
                 '004.Groove_billed_Ani/ani.2', f'1 text files belong to no image: {root / "notes.txt"}',
                 '1 captions have no known word and are left out, of: cup of coffee',
                 '4 captions are longer than max_words = 5 and get cut, of: 004.Groove_billed_Ani/ani.1',
                 '3 images, 5 captions'):
        assert f'{root}: {line}' in text


def test_max_images_are_spread_evenly(options):
    assert [item['class_id'] for item in PairedImageTextDataset(options(phase='val', max_images=2))] == [4, 4]
    assert len(PairedImageTextDataset(options(max_images=9))) == 3


def test_double_compression(options):
    random.seed(0)
    double = PairedImageTextDataset(options(qf=90, double_jpeg={'prob': 0.5, 'qf': [5]}))
    items = [double[0] for _ in range(40)]
    single = [np.array_equal(pixels(item['lq']), compress(pixels(item['gt']), 90)) for item in items]
    assert 8 < sum(single) < 32
    aligned = PairedImageTextDataset(options(qf=90, double_jpeg={'qf': 5, 'shift': 0}))[0]
    assert np.array_equal(pixels(aligned['lq']), compress(compress(pixels(aligned['gt']), 5), 90))


def test_a_png_of_an_earlier_jpeg_has_its_tables_and_quality(options):
    double = {'qf': 5, 'shift': 0, 'last': {'png': 1}}
    item = PairedImageTextDataset(options(qf=90, double_jpeg=double, quantisation_maps=True))[0]
    assert item['qf'] == 5 and np.array_equal(pixels(item['lq']), compress(pixels(item['gt']), 5))
    once = PairedImageTextDataset(options(qf=5, quantisation_maps=True))[0]
    assert torch.equal(item['qmaps'], once['qmaps'])


def test_chroma(options):
    item = PairedImageTextDataset(options(chroma='4:4:4'))[0]
    assert np.array_equal(pixels(item['lq']), compress(pixels(item['gt']), 5, '4:4:4'))


def test_loader_with_workers(options):
    dataset = PairedImageTextDataset(options(dataset_enlarge_ratio=1, num_worker_per_gpu=2, batch_size_per_gpu=3))
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=2)))
    assert batch['lq'].shape == batch['gt'].shape == (3, 3, 64, 64)
    assert batch['text'].shape == (3, 5) and batch['text_mask'].dtype == torch.bool
    assert batch['class_id'].tolist() == [4, 4, 7] and batch['qf'].tolist() == [5, 5, 5]
    assert all(caption in CAPTIONS[name] for caption, name in zip(batch['caption'], SIZES, strict=True))


def test_epochs_differ_though_basicsr_seeds_the_workers_alike(options):
    def epochs() -> list[list[str]]:
        torch.manual_seed(0)
        seed = partial(worker_init_fn, num_workers=2, rank=0, seed=3)
        loader = DataLoader(PairedImageTextDataset(options()), num_workers=2, worker_init_fn=seed)
        return [[f'{batch["caption"]}{batch["gt"].sum()}' for batch in loader] for _ in range(3)]

    first = epochs()
    assert len({tuple(epoch) for epoch in first}) == 3
    assert epochs() == first


def test_main_process_follows_pythons_random(options):
    dataset = PairedImageTextDataset(options())
    random.seed(5)
    item = dataset[0]
    random.seed(5)
    assert_equal_items(item, dataset[0])


def test_pickling(options):
    dataset = PairedImageTextDataset(options(phase='val'))
    assert_equal_items(pickle.loads(pickle.dumps(dataset))[1], dataset[1])


def test_options_are_not_changed(options):
    given = options(io_backend={'type': 'disk'}, double_jpeg={'qf': [5]})
    copy = json.loads(json.dumps(given))
    PairedImageTextDataset(given)[0]
    assert given == copy
