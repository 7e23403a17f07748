"""A weights file names networks, and nothing that reads or fetches another file."""

import json

import pytest
import torch

from tgjar_arch.weights.network_check import check_network

HF = {'type': 'HFTextEncoder', 'text_dim': 16, 'train_backbone': False, 'pooling': 'mean', 'special_ids': [1, 2]}
BERT = {'model_type': 'bert', 'vocab_size': 9, 'hidden_size': 8, 'num_hidden_layers': 1, 'num_attention_heads': 2,
        'intermediate_size': 8, 'classifier_dropout': None, 'hidden_act': 'gelu'}


@pytest.mark.parametrize('network', [
    {'type': 'TGJARGenerator', 'num_feat': 8, 'use_global_fusion': False},
    {'type': 'LSTMTextEncoder', 'vocab_size': 10, 'embed_dim': 8, 'text_dim': 16},
    {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 1, 'rgb_mean': [0.4, 0.4, 0.4]},
    {'type': 'SwinIR', 'depths': [1, 2], 'upsampler': '', 'resi_connection': '1conv', 'use_checkpoint': True},
    {'type': 'FBCNN', 'num_feat': [8, 8, 8, 8], 'qf_input': None},
    HF | {'config': BERT, 'train_backbone': True},
    HF | {'config': BERT | {'model_type': 'distilbert', 'tie_weights_': True}},
    HF | {'config': BERT | {'model_type': 'gpt2', 'scale_attn_weights': True}},
    HF | {'config': BERT}, HF | {'config': BERT, 'model': None, 'download': False},
])
def test_networks_with_plain_arguments_are_kept(network):
    assert check_network(json.loads(json.dumps(network)), 'network_g') == network


def test_the_origin_of_a_text_model_is_left_out():
    config = BERT | {'_name_or_path': '/home/me/bert', 'auto_map': {'AutoModel': 'someone/x--m.M'},
                     'task_specific_params': {'a': {'prefix': 'translate: '}}}
    assert check_network(HF | {'config': config}, 'network_t')['config'] == BERT


@pytest.mark.parametrize(('network', 'message'), [
    (None, 'must be an object with "type"'), ([], 'must be an object'), ('EDSR', 'must be an object'),
    ({}, 'must be an object'), ({'type': 5}, 'must be an object'),
    ({'type': 'Nothing'}, "is a 'Nothing', which is no network"),
    ({'type': 'VGGFeatureExtractor', 'layer_name_list': ['conv1_1']}, 'no network of this package or of BasicSR that'),
    ({'type': 'DFDNet', 'num_feat': 8, 'dict_path': 'x'}, 'no network of this package or of BasicSR that'),
    ({'type': 'SpyNet', 'load_path': 'evil.pth'}, "the argument 'load_path', which reads or fetches a file"),
    ({'type': 'SpyNet', 'load_path': 7}, "'load_path', which reads"),  # open(7) is a file too
    ({'type': 'SpyNet', 'load_path': ['evil']}, "'load_path', which reads"),
    ({'type': 'BasicVSR', 'spynet_path': 'evil'}, "'spynet_path', which reads"),
    ({'type': 'DAMSMImageEncoder', 'weights': 'imagenet'}, "'weights', which reads"),
    (HF | {'model': 'someone/x'}, "'model', which reads"),
    (HF | {'config': BERT, 'download': True}, "'download', which reads"),
    ({'type': 'EDSR', 'x': '../evil.pth'}, "has '../evil.pth' as 'x', which may be a path"),
    ({'type': 'EDSR', 'x': ['https://a.b']}, 'may be a path or an address'),
    ({'type': 'EDSR', 'x': {'a': 1}}, 'only numbers, booleans, lists'),
    ({'type': 'EDSR', 'x': float('nan')}, 'only numbers, booleans, lists'),
    (HF | {'config': 'bert'}, 'which is no text model'),
    (HF | {'config': BERT | {'model_type': 'detr'}}, "model_type 'detr', which is no text model"),
    (HF | {'config': BERT | {'attn_implementation': 'kernels-community/x'}}, 'may be a path or an address'),
    (HF | {'config': BERT | {'use_kernels': True}}, "'use_kernels', which reads"),
    (HF | {'config': BERT | {'x': {'checkpoint_path': 'evil'}}}, "'checkpoint_path', which reads"),
])
def test_what_a_file_may_not_name(network, message, monkeypatch):
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: pytest.fail('unpickled'))
    with pytest.raises(ValueError, match='network_g .*' + message):
        check_network(network, 'network_g')
