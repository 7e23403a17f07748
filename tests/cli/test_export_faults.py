"""`tgjar export` of what is no checkpoint, or one that does not fit: one line for each kind, and nothing written."""

import json

import pytest
import torch

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import export
from tgjar_arch.text.word_tokenizer import WordTokenizer

TOKENIZER = WordTokenizer.build(['a red bird', 'a blue flower'])
G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
T = {'vocab_size': TOKENIZER.vocab_size, 'embed_dim': 8, 'text_dim': 16}
STATE_G, STATE_T = TGJARGenerator(**G).state_dict(), LSTMTextEncoder(**T).state_dict()
NAMES = list(STATE_G)
GENERATOR = {'params': STATE_G, 'network': json.dumps({'type': 'TGJARGenerator', **G})}
TEXT = {'params': STATE_T, 'network': json.dumps({'type': 'LSTMTextEncoder', **T}), 'tokenizer': TOKENIZER.to_json(),
        'max_words': 5}


def without(content, key):
    return {name: value for name, value in content.items() if name != key}


def exported(folder, generator, text, capsys, *arguments):
    """Exit code and error of an export of two files of these contents, or bytes."""
    for name, content in (('net_g_5.pth', generator), ('net_t_5.pth', text)):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            torch.save(content, folder / name)
    code = export.main([str(folder), '-o', str(folder / 'x.safetensors'), *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize('content, message', [
    (torch.zeros(3), 'holds a Tensor, not a dictionary of weights'),
    ([1], 'holds a list, not a dictionary'),
    (5, 'holds a int, not a dictionary'),
    (None, 'holds a NoneType, not a dictionary'),
    ({}, 'does not say which network it is'),
    (STATE_G, 'does not say which network it is'),
    ({'epoch': 1, 'iter': 5, 'optimizers': []}, 'does not say which network it is'),
    (GENERATOR | {'network': json.loads(GENERATOR['network'])}, 'does not say which network it is'),
    (GENERATOR | {'network': '{'}, 'cannot be exported'),
    (without(GENERATOR, 'params'), "has no weights under 'params'"),
    (GENERATOR | {'params': None}, 'holds no weights of a network'),
    (GENERATOR | {'params': torch.zeros(2)}, 'holds no weights of a network'),
    (GENERATOR | {'params_ema': [3]}, 'holds no weights of a network'),
    (GENERATOR | {'params': dict.fromkeys(NAMES, 1.5)}, 'holds no weights of a network'),
    (GENERATOR | {'params': STATE_G | {NAMES[0]: 'x'}}, 'holds no weights of a network'),
    (GENERATOR | {'params': {}}, f'it lacks {len(NAMES)} tensors, e.g. {NAMES[0]}'),
    (GENERATOR | {'network': json.dumps({'type': 'TGJARGenerator', **G, 'num_feat': 16})}, 'has other shapes for'),
    (GENERATOR | {'params': STATE_G | {NAMES[0]: STATE_G[NAMES[0]].to('meta')}}, 'is a meta tensor'),
    (GENERATOR | {'params': STATE_G | {NAMES[0]: STATE_G[NAMES[0]].to(torch.complex64)}}, 'is a complex64 tensor'),
    (GENERATOR | {'params': STATE_G | {NAMES[0]: torch.full_like(STATE_G[NAMES[0]], torch.nan)}}, 'NaN or infinite'),
    (TEXT, 'network_g is a LSTMTextEncoder, which reads captions'),
    (b'', 'cannot be read (EOFError); it is truncated'),
    (b'hello', 'no PyTorch checkpoint'),
    (b'PK\3\4 and so on', 'not a ZIP archive); it is truncated or no PyTorch checkpoint'),
])
def test_what_is_no_generator(tmp_path, capsys, content, message):
    code, error = exported(tmp_path, content, TEXT, capsys)
    assert code == 1 and message in error
    assert error.startswith('tgjar export: ') and error.count('\n') == 1 and len(error) < 600
    assert not (tmp_path / 'x.safetensors').exists()


@pytest.mark.parametrize('content, message', [
    (torch.zeros(3), 'net_t_5.pth holds a Tensor, not a dictionary'),
    (without(TEXT, 'tokenizer'), 'net_t_5.pth has no tokenizer'),
    (TEXT | {'tokenizer': None}, 'net_t_5.pth has no tokenizer'),
    (TEXT | {'tokenizer': '{"a": 1}'}, 'its tokenizer cannot be used'),
    (without(TEXT, 'max_words'), 'net_t_5.pth does not say its max_words'),
    (TEXT | {'max_words': 'many'}, 'net_t_5.pth does not say its max_words'),
    (TEXT | {'max_words': 0}, "max_words must be a whole number from 1 to 1,000, but is '0'"),
    (TEXT | {'max_words': True}, "but is 'True'"),
    (TEXT | {'params': {}}, 'it lacks'),
    (TEXT | {'network': json.dumps({'type': 'LSTMTextEncoder', **T, 'embed_dim': 16})}, 'has other shapes for'),
    (GENERATOR | {'tokenizer': TOKENIZER.to_json(), 'max_words': 5}, 'network_t is a TGJARGenerator'),
])
def test_what_is_no_text_encoder(tmp_path, capsys, content, message):
    code, error = exported(tmp_path, GENERATOR, content, capsys)
    assert code == 1 and message in error
    assert error.startswith('tgjar export: ') and error.count('\n') == 1 and len(error) < 600
    assert not (tmp_path / 'x.safetensors').exists()
    assert exported(tmp_path, GENERATOR, content, capsys, '--without-text') == (0, '')
