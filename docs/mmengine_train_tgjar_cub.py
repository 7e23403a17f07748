# Stage 2 on CUB-200-2011 at JPEG quality 1 by MMEngine's Runner: options/train_tgjar_cub.yml without L_G, which only
# BasicSR's trainer has. Data and stage 1 come first, as for that file.
#
#     from mmengine import Config
#     from mmengine.runner import Runner
#     Runner.from_cfg(Config.fromfile('docs/mmengine_train_tgjar_cub.py')).train()

# To resume (`resume = True`) MMEngine 0.10 unpickles its own checkpoints, which PyTorch from 2.6 on refuses: set
# TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 in the environment, and give it no checkpoint of other people.

custom_imports = {'imports': ['tgjar_arch.mmengine'], 'allow_failed_imports': False}  # registers `tgjar.`
default_scope = 'mmengine'
work_dir = 'experiments/mmengine_train_tgjar_cub'
randomness = {'seed': 0}

tokenizer = 'data/cub/tokenizer.json'  # the vocabulary, from `tgjar vocab`
max_words = 18  # words kept of a caption

model = {
    'type': 'tgjar.TextGuidedRestorer',
    'network_g': {'type': 'tgjar.TGJARGenerator', 'num_feat': 64, 'num_block': 9, 'text_dim': 256},
    'network_t': {'type': 'tgjar.LSTMTextEncoder', 'vocab_size': None, 'text_dim': 256},  # None: as the tokenizer has
    'network_i': {'type': 'tgjar.DAMSMImageEncoder', 'backbone': 'inception_v3', 'text_dim': 256},
    'tokenizer': tokenizer,
    'max_words': max_words,
    'pretrain_network_t': 'experiments/train_damsm_cub/models/net_t_latest.pth',  # stage 1; frozen
    'pretrain_network_i': 'experiments/train_damsm_cub/models/net_i_latest.pth',
    'pixel_loss': {'type': 'tgjar.L1Loss', 'loss_weight': 1.0},
    'contrastive_loss': {'type': 'tgjar.PerceptualContrastiveLoss', 'loss_weight': 0.01},
    'damsm_loss': {'type': 'tgjar.DAMSMLoss', 'loss_weight': 5e-4},
}

train_dataloader = {
    'dataset': {
        'type': 'tgjar.PairedImageTextDataset',
        'opt': {'phase': 'train', 'dataroot_gt': 'data/cub/train', 'tokenizer': tokenizer, 'max_words': max_words,
                'qf': 1, 'gt_size': 256},
    },
    'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
    'collate_fn': {'type': 'default_collate'},
    'batch_size': 4,
    'num_workers': 4,
    'persistent_workers': True,
}
val_dataloader = {
    'dataset': {
        'type': 'tgjar.PairedImageTextDataset',
        'opt': {'phase': 'val', 'dataroot_gt': 'data/cub/test', 'tokenizer': tokenizer, 'max_words': max_words,
                'qf': 1, 'gt_size': 256, 'max_images': 200},
    },
    'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    'collate_fn': {'type': 'default_collate'},
    'batch_size': 1,
    'num_workers': 2,
}
val_evaluator = {
    'type': 'tgjar.RestorationMetric',
    'scores': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}, 'lpips': {'type': 'calculate_lpips'}},
}

optim_wrapper = {'optimizer': {'type': 'Adam', 'lr': 1e-4}}
param_scheduler = {'type': 'MultiStepLR', 'by_epoch': False, 'milestones': [44260, 88520, 132780, 177040], 'gamma': 0.1}
train_cfg = {'by_epoch': False, 'max_iters': 221300, 'val_interval': 5000}
val_cfg = {}
default_hooks = {'checkpoint': {'type': 'CheckpointHook', 'by_epoch': False, 'interval': 5000, 'save_last': True},
                 'logger': {'type': 'LoggerHook', 'interval': 100}}
log_processor = {'by_epoch': False}
