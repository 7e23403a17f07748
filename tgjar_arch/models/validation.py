"""Validation of a restorer: metrics, pictures and captions of a test set, one image at a time.

With several processes each restores its share of the images; the results are put together on all of them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch.distributed
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.datasets.paired_image_text_dataset import UnusableImageError
from tgjar_arch.metrics.fid import SET_METRICS, FrechetDistance, build_set_metric
from tgjar_arch.metrics.lpips import cached_lpips
from tgjar_arch.metrics.pi import cached_nrqm
from tgjar_arch.pictures.panel import draw_panel
from tgjar_arch.text.escaping import as_markdown


@dataclass
class _Result:
    """What becomes of one image: its place in the set, its line of captions, its scores or why there are none."""

    index: int
    relative: str
    line: str
    row: tuple[str, list[np.ndarray]] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def prepare_metrics(val_opt: dict[str, Any] | None) -> None:
    """Leave out metrics set to `~`, and load networks now: not hours later, when the first validation finds no weights.

    Raises:
        ValueError: for an unknown type or a wrong key of a set-level metric.
        RuntimeError, ValueError, FileNotFoundError, ImportError: as `build_lpips`, `build_nrqm`, `build_set_metric`.
    """
    if not val_opt or not val_opt.get('metrics'):
        return
    val_opt['metrics'] = {name: metric for name, metric in val_opt['metrics'].items() if metric}
    for name, metric in val_opt['metrics'].items():
        kind = metric.get('type')
        if kind in SET_METRICS:
            _build(metric)
        elif kind not in METRIC_REGISTRY:
            raise ValueError(f'val:metrics:{name}: there is no metric {kind!r}; there are '
                             f'{", ".join(sorted(METRIC_REGISTRY.keys()))}; of whole sets {", ".join(SET_METRICS)}.')
        elif kind == 'calculate_lpips':
            cached_lpips(metric.get('net', 'alex'), metric.get('trunk_path'))
        elif kind in ('calculate_pi', 'calculate_ma'):
            cached_nrqm(metric.get('weights_path'))


def validate(model: SRModel, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """BasicSR's validation for images in any depth, of any size, with captions; also for metrics of a whole set.

    Results go where BasicSR's go: a test's into one folder, which BasicSR's `scripts/metrics` read, with the folders of
    the data set between only where two images share a file name. A metric that cannot be computed for an
    image (no ground truth, too small) is left out of the mean, and a broken file, or a picture that cannot be restored,
    out of everything; all are named in the log. The first `val: num_shown` images go with their captions into one
    picture, in the visualisation folder (with `save_img`) and in TensorBoard.

    Every process has to call it; each restores every `world_size`-th image.

    Args:
        model: with `feed_data`, `test`, `get_current_visuals` and `captions`, as TGJARModel.
        dataloader: of batch size 1 over the whole set.
        current_iter: iteration, or the name of a test.
        tb_logger: TensorBoard's writer, or None.
        save_img: write every restored image.
    """
    dataset: Any = dataloader.dataset  # with `opt`, as BasicSR's
    opt, dataset_opt = model.opt, dataset.opt
    name, metrics = dataset_opt['name'], opt['val'].get('metrics') or {}
    root = _common_root(dataset_opt.get('dataroot_lq') or dataset_opt.get('dataroot_gt'))
    sets = {metric: _build(metric_opt) for metric, metric_opt in metrics.items() if metric_opt['type'] in SET_METRICS}
    rank, world_size = get_dist_info()
    results: list[_Result] = []
    num_shown = opt['val'].get('num_shown', 4) or 0
    flat = not opt['is_train'] and _names_differ(dataset)
    mine = share(dataloader, rank, world_size)
    quiet = rank > 0 or not opt['val'].get('pbar')
    for index, data in tqdm(readable(mine), total=len(mine), unit='image', disable=quiet):
        images = _restored(model, data)
        if images is None:
            continue
        relative = _relative(data['lq_path'][0], root)
        line = json.dumps({'file_name': relative, 'caption': model.captions[0]}, ensure_ascii=False)
        result = _Result(rank + index * world_size, relative, line)
        if len(results) < num_shown:
            result.row = model.captions[0], [image[..., ::-1] for image in images.values()]
        if save_img:
            stem = os.path.splitext(os.path.basename(relative) if flat else relative)[0]
            _write(images['result'], _target(opt, name, stem, current_iter))
        for metric, metric_opt in metrics.items():
            try:
                if metric in sets:
                    _update(sets[metric], images)
                else:
                    result.scores[metric] = _score(images, metric_opt)
            except Exception as error:  # metrics are anybody's: none may end a training
                result.failed[metric] = str(error)
        results.append(result)
    results = _gather(results)
    rows = [result.row for result in results if result.row][:num_shown]
    means = _means(name, metrics, results, sets)
    _report(model, name, means, current_iter, tb_logger)
    if rank == 0:
        _show(model, name, rows, [result.line for result in results], current_iter, tb_logger, save_img)


def _restored(model: SRModel, data: dict) -> dict[str, np.ndarray] | None:
    """`lq`, `result` and, where there is one, `gt`, BGR uint8; None for a picture that cannot be restored.

    It may be too small for the network, or too large for the memory: named in the log, as a broken file, it must not
    end a training of days.
    """
    try:
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        return {key: tensor2img(visuals[key]) for key in ('lq', 'result', 'gt') if key in visuals}
    except (MemoryError, RuntimeError, ValueError) as error:
        height, width = data['lq'].shape[2:]
        reason = str(error).partition('\n')[0] or type(error).__name__
    # Here the traceback, and with it what the network has kept, is gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    get_root_logger().error(f'{data["lq_path"][0]} ({width}x{height} pixels) cannot be restored: {reason} It is left '
                            'out of the validation.')
    return None


def _build(metric_opt: dict[str, Any]) -> FrechetDistance:
    return build_set_metric(metric_opt['type'], **{key: value for key, value in metric_opt.items() if key != 'type'})


def share(dataloader: DataLoader, rank: int, world_size: int) -> DataLoader:
    """The images of this process: every `world_size`-th.

    With BasicSR's own prefetching an image that cannot be read would end the thread that reads, and the loop wait for
    ever: it is left out.
    """
    if world_size == 1 and type(dataloader) is DataLoader:
        return dataloader
    dataset: Any = dataloader.dataset  # one with a length
    return DataLoader(Subset(dataset, range(rank, len(dataset), world_size)), batch_size=1,
                      collate_fn=dataloader.collate_fn)


def readable(dataloader: DataLoader) -> Iterator[tuple[int, dict]]:
    """Images that can be read, each with its place in `dataloader`, of `share`; the others are named in the log."""
    iterator = iter(dataloader)
    for index in range(len(dataloader)):
        try:
            yield index, next(iterator)
        except UnusableImageError as error:  # BasicSR's validation loader has no workers: the next one can be read
            get_root_logger().error(f'{error} It is left out of the validation.')


def _gather(results: list[_Result]) -> list[_Result]:
    """The results of all processes in the order of the set, on each of them."""
    if get_dist_info()[1] == 1:
        return results
    parts: list[list[_Result]] = [[] for _ in range(get_dist_info()[1])]
    torch.distributed.all_gather_object(parts, results)
    return sorted((result for part in parts for result in part), key=lambda result: result.index)


def _means(name: str, metrics: dict[str, Any], results: list[_Result], sets: dict[str, FrechetDistance]
           ) -> dict[str, float]:
    """Mean of every metric, and the score of those of the whole set; NaN and a warning where there is none."""
    means = {}
    for metric in metrics:
        failed = [result for result in results if metric in result.failed]
        if failed:
            get_root_logger().warning(f'{name}: {metric} could not be computed for {len(failed)} images, the last '
                                      f'{failed[-1].relative}: {failed[-1].failed[metric]}')
        scores = [result.scores[metric] for result in results if metric in result.scores]
        means[metric] = float(np.mean(scores)) if scores else float('nan')
        if metric in sets:
            try:
                means[metric] = sets[metric].compute()
            except RuntimeError as error:  # fewer than two images, on every process alike
                get_root_logger().warning(f'{name}: {metric} could not be computed: {error}')
    return means


def _common_root(roots: str | Sequence[str] | None) -> str | None:
    """The folder that all data roots lie in, so that files of one name in two of them keep names that differ."""
    if roots is None or isinstance(roots, str):
        return roots
    return os.path.commonpath([Path(root).expanduser().resolve() for root in roots])


def _relative(path: str, root: str | None) -> str:
    file = Path(path).resolve()
    folder = Path(root).expanduser().resolve() if root else file.parent
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _names_differ(dataset: Dataset) -> bool:
    """Whether file names alone tell the images of a PairedImageTextDataset apart; False for another dataset."""
    names = [image.name.rpartition('/')[2] for image in getattr(dataset, 'images', ())]
    return 0 < len(names) == len(set(names))


def _target(opt: dict, name: str, stem: str, current_iter: int | str) -> str:
    folder = opt['path']['visualization']
    if opt['is_train']:
        return os.path.join(folder, stem, f'{os.path.basename(stem)}_{current_iter}.png')
    return os.path.join(folder, name, f'{stem}_{opt["val"].get("suffix") or opt["name"]}.png')


def _write(image: np.ndarray, path: str) -> None:
    """BasicSR's `imwrite`, but whole or not at all, and with the reason where it cannot be written."""
    content = cv2.imencode('.png', image)[1]
    with atomic(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _update(metric: FrechetDistance, images: dict[str, np.ndarray]) -> None:
    if 'gt' not in images:
        raise ValueError('there is no ground truth.')
    metric.update(images['result'], images['gt'])


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
    if save_img and lines:
        folder = Path(model.opt['path']['visualization'])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{name}_captions.jsonl').write_text(
            '\n'.join(lines) + '\n', encoding='utf-8', errors='surrogateescape')
    rows = [row for row in rows if len(row[1]) == len(rows[0][1])]
    if not rows:
        return
    panel = draw_panel(rows, ('JPEG', 'restored', 'original')[:len(rows[0][1])], cell=512)
    if save_img:
        panel.save(folder / f'{name}_{current_iter}.png')
    if tb_logger is not None:
        tb_logger.add_image(f'{name}/samples', np.asarray(panel), current_iter, dataformats='HWC')
        tb_logger.add_text(f'{name}/captions', '\n\n'.join(as_markdown(caption) for caption, _ in rows), current_iter)
