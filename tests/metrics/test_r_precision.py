import pytest
import torch

from tgjar_arch.metrics.r_precision import r_precision


def test_perfect_and_worst_features():
    features = torch.eye(8)
    assert r_precision(features, features, torch.arange(8)) == 1
    assert r_precision(features, features.roll(1, 0), torch.arange(8)) == 0


def test_chance_is_one_in_a_hundred():
    generator = torch.Generator().manual_seed(1)
    images, sentences = (torch.randn(3000, 16, generator=generator) for _ in range(2))
    found = r_precision(images, sentences, torch.arange(3000) % 50)
    assert abs(found - 0.01) < 3 * (0.01 * 0.99 / 3000)**0.5


def test_the_same_class_is_no_rival():
    # Image 0 is closer to caption 1 than to its own, but both show the same bird.
    images = torch.tensor([[1., 0.], [1., 0.1], [0., 1.]])
    sentences = torch.tensor([[1., 0.3], [1., 0.], [0., 1.]])
    assert r_precision(images, sentences, torch.tensor([4, 4, 7])) == 1
    assert r_precision(images, sentences, torch.tensor([4, 5, 7])) < 1
    assert r_precision(images, sentences, torch.tensor([-1, -1, -1])) < 1  # unknown classes are all different


def test_seeded():
    images, sentences = torch.randn(400, 4), torch.randn(400, 4)
    classes = torch.arange(400)
    values = {r_precision(images, sentences, classes, num_negatives=5, seed=seed) for seed in (0, 0, 0)}
    assert len(values) == 1
    assert len({r_precision(images, sentences, classes, num_negatives=5, seed=seed) for seed in range(5)}) > 1


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match='other classes'):
        r_precision(torch.randn(3, 2), torch.randn(3, 2), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize('images', [0, 1])
def test_too_few_images_are_an_error(images):
    with pytest.raises(ValueError, match=f'{images} captioned images of {images} classes are too few'):
        r_precision(torch.randn(images, 2), torch.randn(images, 2), torch.full((images,), -1))
