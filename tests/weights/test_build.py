"""A weights file costs no more than its bytes: networks are compared with its tensors before they are built."""

import json
import textwrap
import time

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tgjar_arch.registration import network_class, register
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.build import build, check_fit
from tgjar_arch.weights.checkpoint import save_atomically, stored_shapes
from tgjar_arch.weights.collect import collect
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights

RGB = {'num_in_ch': 3, 'num_out_ch': 3}
# A small network of every kind that restores, those that cannot be built without storage among them (ECBSR, RIDNet).
NETWORKS = [
    {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16},
    {'type': 'TGJARLiteGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16},
    {'type': 'QGCN', 'num_feat': 4, 'num_block': 2}, {'type': 'RNAN', 'num_feat': 4, 'num_group': 2},
    {'type': 'FBCNN', 'num_feat': [4, 4, 4, 512], 'num_block': 1}, {'type': 'TGJARDiscriminator', 'num_feat': 4},
    RGB | {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 1},
    RGB | {'type': 'RRDBNet', 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 4, 'scale': 1},
    RGB | {'type': 'RCAN', 'num_feat': 16, 'num_group': 1, 'num_block': 1, 'upscale': 1},
    RGB | {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2},
    {'type': 'SwinIR', 'img_size': 16, 'window_size': 8, 'depths': [2, 2], 'num_heads': [1, 1], 'embed_dim': 8,
     'upscale': 1},
    {'type': 'RIDNet', 'in_channels': 3, 'mid_channels': 16, 'out_channels': 3, 'num_block': 1},
    RGB | {'type': 'ECBSR', 'num_block': 1, 'num_channel': 4, 'with_idt': True, 'act_type': 'relu', 'scale': 1},
    RGB | {'type': 'SRVGGNetCompact_basicsr', 'num_feat': 4, 'num_conv': 1},
    {'type': 'LSTMTextEncoder', 'vocab_size': 5, 'embed_dim': 4, 'text_dim': 8},
]
HF = {'type': 'HFTextEncoder', 'text_dim': 8, 'special_ids': [1, 2]}
TINY = {'vocab_size': 9, 'hidden_size': 8, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 8}
CONFIGS = [
    TINY | {'model_type': 'bert'}, TINY | {'model_type': 'roberta'}, TINY | {'model_type': 'mpnet'},
    TINY | {'model_type': 'clip_text_model', 'projection_dim': 8},
    TINY | {'model_type': 'modernbert', 'pad_token_id': 0},
    TINY | {'model_type': 'qwen2', 'num_key_value_heads': 2, 'rope_parameters': {'rope_theta': 1000000.0,
                                                                                'rope_type': 'default'}},
    {'model_type': 'gpt2', 'vocab_size': 9, 'n_embd': 8, 'n_layer': 1, 'n_head': 2},
    {'model_type': 'distilbert', 'vocab_size': 9, 'dim': 8, 'n_layers': 1, 'n_heads': 2, 'hidden_dim': 8},
    {'model_type': 't5', 'vocab_size': 9, 'd_model': 8, 'd_kv': 4, 'd_ff': 8, 'num_layers': 1, 'num_heads': 2},
]


def made(network):
    options = dict(network)
    torch.manual_seed(1)
    return network_class(options.pop('type'))(**options).eval()


def shapes_of(net):
    return {name: value.shape for name, value in net.state_dict().items()}


@pytest.mark.parametrize('network', [*NETWORKS, *(HF | {'config': config} for config in CONFIGS)],
                         ids=lambda network: network.get('config', network).get('model_type', network['type']))
def test_every_kind_of_network_is_compared_and_built_as_before(network):
    register()
    net = made(network)
    asked = check_fit(network, shapes_of(net), 'network')
    assert shapes_of(asked) == shapes_of(net)
    before = torch.random.get_rng_state()
    again = build(network, net.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)  # nothing was drawn
    for (name, value), (name_again, value_again) in zip(net.state_dict().items(), again.state_dict().items(),
                                                        strict=True):
        assert name == name_again and torch.equal(value, value_again)
    buffers, buffers_again = dict(net.named_buffers()), dict(again.named_buffers())
    assert buffers.keys() == buffers_again.keys()
    assert all(torch.equal(buffers[name], buffers_again[name]) for name in buffers)  # those not in the file too
    name = next(iter(shapes_of(net)))
    for shapes, said in (({}, 'it lacks|larger layers|than the file'),
                         ({key: value for key, value in shapes_of(net).items() if key != name}, f'lacks 1 .*{name}'),
                         (shapes_of(net) | {'more': torch.Size([1])}, 'also has 1 tensors, e.g. more'),
                         (shapes_of(net) | {name: torch.Size([7, 7])}, f'has other shapes for 1 tensors, e.g. {name}')):
        with pytest.raises(ValueError, match=said) as caught:
            check_fit(network, shapes, 'network')
        assert '\n' not in str(caught.value) and len(str(caught.value)) < 600


def _greater(value, number):
    """The same arguments with one whole number after the other replaced."""
    for key, old in value.items():
        if isinstance(old, bool) or key == 'upscale':
            continue
        if isinstance(old, int):
            yield value | {key: number}
        elif isinstance(old, list) and old and isinstance(old[0], int):
            yield value | {key: [number, *old[1:]]}
        elif isinstance(old, dict):
            yield from (value | {key: inner} for inner in _greater(old, number))


CODE = textwrap.dedent("""
    import json, resource, sys, time
    from safetensors.torch import save_file
    from tgjar_arch.registration import network_class, register
    from tgjar_arch.restoration.restorer import Restorer

    register()
    cases, longest = json.load(open(sys.argv[2])), 0
    for network in cases:
        network_class(network['type'])  # imports what it needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for network in cases:
        save_file({}, sys.argv[1], metadata={'format': 'tgjar-2', 'network_g': json.dumps(network)})
        start = time.process_time()
        try:
            Restorer.from_pretrained(sys.argv[1], 'cpu')
        except ValueError as error:
            assert 'does not fit the networks it names' in str(error), error
            assert chr(10) not in str(error) and len(str(error)) < 700, error
        else:
            raise AssertionError(network)
        longest = max(longest, time.process_time() - start)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, longest)
""")


def test_a_file_of_150_bytes_takes_no_memory(tmp_path):
    """Every whole number of every network, as great as the text allows and as great as is not refused at once."""
    cases = [RGB | {'type': 'RRDBNet', 'num_block': 10_000_000}, RGB | {'type': 'RRDBNet', 'num_feat': 9000},
             {'type': 'TGJARGenerator', 'num_feat': 9000}, {'type': 'EDVR', 'num_feat': 100_000},
             {'type': 'DUF', 'num_layer': 16, 'scale': 1000}]
    for network in NETWORKS:
        for number in (2**20, 60_000):
            cases += _greater(network, number)
    (tmp_path / 'cases.json').write_text(json.dumps(cases))
    result = python('-c', CODE, tmp_path / 'w.safetensors', tmp_path / 'cases.json', cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]
    kilobytes, longest = result.stdout.splitlines()[-1].split()
    assert (tmp_path / 'w.safetensors').stat().st_size < 1000
    assert int(kilobytes) < 60_000, f'{kilobytes} kB'
    assert float(longest) < 10


def test_counts_in_a_list_are_bounded_together():
    """SwinIR computes a rate for every one of its blocks, which took minutes, before it makes the first."""
    network = {'type': 'SwinIR', 'depths': [900] * 1000}
    with pytest.raises(ValueError, match='network_g has the number 900000 as depths'):
        check_fit(network, {}, 'network_g')


def test_text_models_that_are_too_large_are_refused_at_once():
    for config in CONFIGS:
        for network in _greater(HF | {'config': config}, 2**20):
            start = time.process_time()
            with pytest.raises(ValueError, match='network_t HFTextEncoder|network_t has the number'):
                check_fit(network, {}, 'network_t')
            assert time.process_time() - start < 5, network


@pytest.mark.parametrize('length', [2000, 50_000])
def test_buffers_that_are_not_in_the_file_are_bounded(length):
    """GPT-Neo makes a square of its longest text for every layer, and stores none of them."""
    config = {'model_type': 'gpt_neo', 'vocab_size': 9, 'hidden_size': 2, 'num_layers': 6, 'num_heads': 1,
              'attention_types': [[['global'], 6]], 'max_position_embeddings': 64}
    shapes = shapes_of(made(HF | {'config': config}))
    check_fit(HF | {'config': config}, shapes, 'network_t')
    shapes['backbone.wpe.weight'] = torch.Size([length, 2])
    with pytest.raises(ValueError, match='than the file hold|values that are not in the file'):
        check_fit(HF | {'config': config | {'max_position_embeddings': length}}, shapes, 'network_t')


def test_misfits_of_a_file_are_one_line(tmp_path):
    net = made(NETWORKS[0])
    for network in (NETWORKS[0] | {'num_feat': 16}, NETWORKS[1], NETWORKS[0] | {'num_block': 3}):
        save_file({f'net_g.{key}': value for key, value in net.state_dict().items()}, tmp_path / 'w.safetensors',
                  metadata={'format': 'tgjar-2', 'network_g': json.dumps(network)})
        for read in (read_weights, Restorer.from_pretrained):
            with pytest.raises(ValueError, match=r'w\.safetensors does not fit the networks it names: of net') as e:
                read(tmp_path / 'w.safetensors')
            assert '\n' not in str(e.value) and len(str(e.value)) < 500
        with pytest.raises(ValueError, match='of network_g'):
            write_weights(tmp_path / 'x.safetensors', ExportedWeights(network, net.state_dict()))


@pytest.mark.parametrize('network', ['[' * 900 + ']' * 900, '{"type": "EDSR", "x": ' + '[' * 900 + ']' * 900 + '}'])
def test_nested_metadata_are_one_line(tmp_path, network):
    save_file({}, tmp_path / 'w.safetensors', metadata={'format': 'tgjar-2', 'network_g': network})
    with pytest.raises(ValueError, match=r'w\.safetensors (cannot be used|does not fit)') as caught:
        read_weights(tmp_path / 'w.safetensors')
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 600


def test_tensors_of_other_names_are_not_read(tmp_path):
    net = made(NETWORKS[0])
    tensors = {f'net_g.{key}': value for key, value in net.state_dict().items()} | {'other': torch.ones(5)}
    save_file(tensors, tmp_path / 'w.safetensors',
              metadata={'format': 'tgjar-2', 'network_g': json.dumps(NETWORKS[0])})
    assert read_weights(tmp_path / 'w.safetensors').state_g.keys() == net.state_dict().keys()


def test_checkpoints_cost_no_more_than_their_bytes_either(tmp_path):
    """`tgjar export` of a checkpoint with a large name, and with one value that says that it is many."""
    net = made(NETWORKS[0])
    network = json.dumps(NETWORKS[0] | {'num_block': 100_000})
    save_atomically({'params': net.state_dict(), 'network': network}, tmp_path / 'net_g_5.pth')
    with pytest.raises(ValueError, match='net_g_5.pth cannot be exported: network has the number 100000 as num_block'):
        collect(tmp_path / 'net_g_5.pth')
    expanded = net.state_dict() | {'head.weight': torch.zeros(1).expand(8, 3, 3, 3)}
    save_atomically({'params': expanded, 'network': json.dumps(NETWORKS[0])}, tmp_path / 'net_g_5.pth')
    with pytest.raises(ValueError, match=r'it has head.weight as \(8, 3, 3, 3\), but not as many values'):
        collect(tmp_path / 'net_g_5.pth')
    assert stored_shapes(net.state_dict(), 'x') == shapes_of(net)
