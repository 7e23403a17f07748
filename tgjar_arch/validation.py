"""Validation of a restorer: metrics, pictures and captions of a test set, one image at a time."""

import json
import os
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import DataLoader
from tqdm import tqdm

from tgjar_arch.datasets.paired_image_text_dataset import UnusableImageError
from tgjar_arch.metrics.lpips import cached_lpips
from tgjar_arch.panel import draw_panel


def prepare_metrics(val_opt: dict[str, Any] | None) -> None:
    """Leave out metrics set to `~`, and load LPIPS now: not hours later, when the first validation finds no weights.

    Raises:
        RuntimeError, ValueError, FileNotFoundError: as `build_lpips`.
    """
    if not val_opt or not val_opt.get('metrics'):
        return
    val_opt['metrics'] = {name: metric for name, metric in val_opt['metrics'].items() if metric}
    for metric in val_opt['metrics'].values():
        if metric['type'] == 'calculate_lpips':
            cached_lpips(metric.get('net', 'alex'), metric.get('trunk_path'))


def validate(model: SRModel, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """BasicSR's validation for images in any depth, of any size, with captions.

    Results go where BasicSR's go, with the folders of the data set between. A metric that cannot be computed for an
    image (no ground truth, too small) is left out of the mean, and a broken file out of everything; both are named in
    the log. The first `val: num_shown` images go with their captions into one picture, in the visualisation folder
    (with `save_img`) and in TensorBoard.

    Args:
        model: with `feed_data`, `test`, `get_current_visuals` and `captions`, as TGJARModel.
        dataloader: of batch size 1.
        current_iter: iteration, or the name of a test.
        tb_logger: TensorBoard's writer, or None.
        save_img: write every restored image.
    """
    opt, dataset_opt = model.opt, dataloader.dataset.opt
    name, metrics = dataset_opt['name'], opt['val'].get('metrics') or {}
    root = dataset_opt.get('dataroot_lq') or dataset_opt.get('dataroot_gt')
    scores: dict[str, list[float]] = {metric: [] for metric in metrics}
    failed: dict[str, tuple[int, str]] = {}
    rows, lines = [], []
    for data in tqdm(_readable(dataloader), total=len(dataloader), unit='image', disable=not opt['val'].get('pbar')):
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        images = {key: tensor2img(visuals[key]) for key in ('lq', 'result', 'gt') if key in visuals}  # BGR uint8
        relative = _relative(data['lq_path'][0], root)
        lines.append(json.dumps({'file_name': relative, 'caption': model.captions[0]}, ensure_ascii=False))
        if len(rows) < opt['val'].get('num_shown', 4):
            rows.append((model.captions[0], [image[..., ::-1] for image in images.values()]))
        if save_img:
            imwrite(images['result'], _target(opt, name, os.path.splitext(relative)[0], current_iter))
        for metric, metric_opt in metrics.items():
            try:
                scores[metric].append(_score(images, metric_opt))
            except Exception as error:  # metrics are anybody's: none may end a training
                failed[metric] = failed.get(metric, (0, ''))[0] + 1, f'{relative}: {error}'
    for metric, (count, reason) in failed.items():
        get_root_logger().warning(f'{name}: {metric} could not be computed for {count} images, the last {reason}')
    _report(model, name, {metric: float(np.mean(values)) if values else float('nan')
                          for metric, values in scores.items()}, current_iter, tb_logger)
    _show(model, name, rows, lines, current_iter, tb_logger, save_img)


def _readable(dataloader: DataLoader) -> Iterator[dict]:
    iterator = iter(dataloader)
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except UnusableImageError as error:  # BasicSR's validation loader has no workers: the next one can be read
            get_root_logger().error(f'{error} It is left out of the validation.')


def _relative(path: str, root: str | None) -> str:
    path = Path(path).resolve()
    root = Path(root).expanduser().resolve() if root else path.parent
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _target(opt: dict, name: str, stem: str, current_iter: int | str) -> str:
    folder = opt['path']['visualization']
    if opt['is_train']:
        return os.path.join(folder, stem, f'{os.path.basename(stem)}_{current_iter}.png')
    return os.path.join(folder, name, f'{stem}_{opt["val"].get("suffix") or opt["name"]}.png')


def _score(images: dict[str, np.ndarray], metric_opt: dict) -> float:
    data = {'img': images['result']}
    if 'img2' in signature(METRIC_REGISTRY.get(metric_opt['type'])).parameters:
        if 'gt' not in images:
            raise ValueError('there is no ground truth.')
        data['img2'] = images['gt']
    score = float(calculate_metric(data, metric_opt))
    if not np.isfinite(score):
        raise ValueError(f'the score is {score}.')
    return score


def _report(model: SRModel, name: str, results: dict[str, float], current_iter: int | str, tb_logger: Any) -> None:
    if not results:
        return
    model.metric_results = results
    model._initialize_best_metric_results(name)
    for metric, value in results.items():
        if np.isfinite(value):
            model._update_best_metric_result(name, metric, value, current_iter)
    model._log_validation_metric_values(current_iter, name, tb_logger)


def _show(model: SRModel, name: str, rows: list, lines: list[str], current_iter: int | str, tb_logger: Any,
          save_img: bool) -> None:
    rows = [row for row in rows if len(row[1]) == len(rows[0][1])]
    if not rows:
        return
    panel = draw_panel(rows, ('JPEG', 'restored', 'original')[:len(rows[0][1])], cell=512)
    if save_img:
        folder = Path(model.opt['path']['visualization'])
        folder.mkdir(parents=True, exist_ok=True)
        panel.save(folder / f'{name}_{current_iter}.png')
        (folder / f'{name}_captions.jsonl').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    if tb_logger is not None:
        tb_logger.add_image(f'{name}/samples', np.asarray(panel), current_iter, dataformats='HWC')
        tb_logger.add_text(f'{name}/captions', '\n\n'.join(caption for caption, _ in rows), current_iter)
