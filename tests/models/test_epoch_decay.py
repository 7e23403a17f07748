"""AttnGAN's schedule of the learning rate."""

from types import SimpleNamespace

import pytest
import torch

from tgjar_arch.models.epoch_decay import EpochDecayLR
from tgjar_arch.training.changed_options import apply_changes


def made(lr: float = 1e-2, **options: float) -> tuple[torch.optim.Optimizer, EpochDecayLR]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return optimizer, EpochDecayLR(optimizer, **{'gamma': 0.5, 'min_lr': 2e-3, 'iters_per_epoch': 3} | options)


def rates(scheduler: EpochDecayLR, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_it_falls_after_every_epoch_down_to_the_lowest():
    assert rates(made()[1], 10) == pytest.approx([1e-2] * 3 + [5e-3] * 3 + [2.5e-3] * 3 + [2e-3])


def test_a_saved_state_goes_on():
    whole = rates(made()[1], 10)
    _, first = made()
    assert rates(first, 4) == whole[:4]
    optimizer, second = made()
    second.load_state_dict(first.state_dict())
    optimizer.param_groups[0]['lr'] = first.get_last_lr()[0]
    assert rates(second, 6) == whole[4:]


def test_a_change_on_resuming_holds_and_is_said():
    saved_optimizer, saved = made()
    rates(saved, 4)
    state = {'iter': 4, 'optimizers': [saved_optimizer.state_dict()], 'schedulers': [saved.state_dict()]}
    optimizer, scheduler = made(gamma=0.1, iters_per_epoch=2, min_lr=1e-6)

    def update(iteration: int, warmup_iter: int) -> None:
        optimizer.step()
        scheduler.step()

    model = SimpleNamespace(opt={'train': {}}, optimizers=[optimizer], schedulers=[scheduler],
                            update_learning_rate=update)
    notes = apply_changes(state, model, 'x.yml')
    assert [note.partition(': scheduler: ')[2] for note in notes] == [
        'gamma 0.5 -> 0.1', 'min_lr 0.002 -> 1e-06', 'iters_per_epoch 3 -> 2']
    assert state['optimizers'][0]['param_groups'][0]['lr'] == pytest.approx(1e-4)
    scheduler.load_state_dict(state['schedulers'][0])
    assert rates(scheduler, 3) == pytest.approx([1e-4, 1e-4, 1e-5])
