"""A tiny restorer whose captions show in 8 bits, for the tests of choosing between them."""

from pathlib import Path

import torch
from torch import nn

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights, write_weights

WORDS = 'a small yellow red black bird wings with blue sky'.split()
MAX_WORDS = 6


def write_tiny_weights(file: Path, takes_text: bool = True, max_qf: int | None = None) -> Path:
    """Write weights of a random generator, without a text encoder if it is to take none; returns the file."""
    torch.manual_seed(0)
    options = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
    net_g = TGJARGenerator(**options)
    nn.init.kaiming_normal_(net_g.tail.weight)
    with torch.no_grad():
        net_g.tail.weight.mul_(0.05)
    weights = ExportedWeights({'type': 'TGJARGenerator', **options}, net_g.state_dict(), max_qf=max_qf)
    if takes_text:
        tokenizer = WordTokenizer.from_words(WORDS)
        encoder = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
        net_t = LSTMTextEncoder(**encoder)
        with torch.no_grad():  # words that a random encoder tells apart
            net_t.encoder.weight.mul_(30)
        weights = ExportedWeights({'type': 'TGJARGenerator', **options}, net_g.state_dict(),
                                  {'type': 'LSTMTextEncoder', **encoder}, net_t.state_dict(), tokenizer.to_json(),
                                  MAX_WORDS, max_qf=max_qf)
    write_weights(file, weights)
    return file
