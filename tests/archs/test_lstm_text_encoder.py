import numpy as np
import pytest
import torch

from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder


@pytest.fixture
def encoder():
    return LSTMTextEncoder(vocab_size=30, embed_dim=10, text_dim=12).eval()


def batch(lengths, words=6):
    mask = torch.arange(words)[None] < torch.tensor(lengths)[:, None]
    return torch.randint(1, 30, mask.shape) * mask, mask


def test_equals_attngan(shared):
    values = np.load(shared / 'parity' / 'text.npz')
    net = LSTMTextEncoder(vocab_size=50, embed_dim=20, text_dim=32).eval()
    net.load_state_dict({key[3:]: torch.from_numpy(values[key]) for key in values.files if key.startswith('sd.')})
    ids = torch.from_numpy(values['ids']).long()
    mask = torch.arange(ids.shape[1])[None] < torch.from_numpy(values['lengths'])[:, None]
    with torch.no_grad():
        words, sentence, _ = net(ids, mask)
    length = values['words_out'].shape[2]
    np.testing.assert_allclose(words[:, :, :length], values['words_out'], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sentence, values['sentence_out'], rtol=1e-4, atol=1e-6)


def test_padding_and_order_of_the_batch_change_nothing(encoder):
    ids, mask = batch([6, 2, 4])
    with torch.no_grad():
        words, sentence, _ = encoder(ids, mask)
        alone = encoder(ids[1:2, :2], mask[1:2, :2])
        swapped = encoder(ids.flip(0), mask.flip(0))
        other = encoder(torch.where(mask, ids, 7), mask)
    torch.testing.assert_close(words[1:2, :, :2], alone.words, atol=1e-6, rtol=0)
    torch.testing.assert_close(sentence[1:2], alone.sentence, atol=1e-6, rtol=0)
    torch.testing.assert_close(sentence, swapped.sentence.flip(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(words, swapped.words.flip(0), atol=1e-6, rtol=0)
    assert torch.equal(other.words, words) and torch.equal(other.sentence, sentence)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_with_the_mask_on_the_cpu_nothing_waits_for_the_gpu(encoder):
    ids, mask = batch([4, 2, 6, 0])
    expected = encoder(ids, mask)
    encoder, ids = encoder.cuda(), ids.cuda()
    encoder(ids, mask)  # cuDNN's own preparations
    torch.cuda.set_sync_debug_mode('error')
    try:
        out = encoder(ids, mask)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for value, wanted in zip(out, expected, strict=True):
        torch.testing.assert_close(value.cpu(), wanted, atol=1e-5, rtol=0)


def test_words_are_zero_where_there_is_none(encoder):
    ids, mask = batch([6, 2, 0])
    with torch.no_grad():
        words, sentence, _ = encoder(ids, mask)
    assert words.transpose(1, 2)[~mask].abs().max() == 0
    assert words.transpose(1, 2)[mask].abs().min(dim=1).values.max() > 0
    assert sentence[2].abs().max() == 0 and sentence[:2].abs().max() > 0


def test_sentence_is_the_last_word_forward_and_the_first_backward(encoder):
    ids, mask = batch([4])
    with torch.no_grad():
        words, sentence, _ = encoder(ids, mask)
    torch.testing.assert_close(sentence[0, :6], words[0, :6, 3])
    torch.testing.assert_close(sentence[0, 6:], words[0, 6:, 0])


def test_dropout_only_while_training(encoder):
    ids, mask = batch([5])
    assert torch.equal(encoder(ids, mask).words, encoder(ids, mask).words)
    encoder.train()
    assert not torch.equal(encoder(ids, mask).words, encoder(ids, mask).words)


def test_gradients_reach_every_parameter(encoder):
    ids, mask = batch([6, 3])
    words, sentence, _ = encoder(ids, mask)
    (words.square().sum() + sentence.square().sum()).backward()
    assert all(p.grad.abs().max() > 0 for p in encoder.parameters())


def test_keys_are_attngans(encoder):
    suffixes = [f'{kind}_l0{direction}' for direction in ('', '_reverse')
                for kind in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')]
    assert list(encoder.state_dict()) == ['encoder.weight', *(f'rnn.{suffix}' for suffix in suffixes)]


def test_errors_name_the_shapes(encoder):
    with pytest.raises(ValueError, match=r'\(1, 6\) and \(1, 5\)'):
        encoder(torch.ones(1, 6, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match='even'):
        LSTMTextEncoder(10, text_dim=7)


def test_autocast_leaves_the_lstm_alone() -> None:
    """Where oneDNN has no bfloat16 LSTM (without AVX-512), it would raise."""
    net = LSTMTextEncoder(20, embed_dim=8, text_dim=16).eval()
    ids = torch.randint(1, 20, (3, 5))
    plain = net(ids, ids > 3)
    with torch.autocast('cpu', torch.bfloat16):
        cast = net(ids, ids > 3)
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))
