"""What do chosen captions gain, and what would the same bytes gain as JPEG data?

    python -m benchmarks.choose data/cub/test --qf 1 5 --images 500 -o results/choose_cub

Every image is compressed, and restored without a caption, with its first caption, with the best of its captions, and
with one that is composed of words (`tgjar compress --choose`, `--compose`), by each of the criteria of --by. Measured
are LPIPS-Alex, LPIPS-Squeeze and PSNR, so not only what was chosen by; differences come with 95 % intervals over the
images (bootstrap).

A caption makes the file longer by its bytes and 4. Spent on JPEG quality instead, they buy a better picture to begin
with. Quality is a whole number, whose steps are coarse and uneven in bytes (2 costs next to nothing over 1, the next
ones more than some words), so each image's own ladder of qualities, restored without captions by the same weights, is
interpolated linearly in bytes: what the picture would score at exactly the size of the file with its caption. Weights
that were trained for one quality alone restore the next one worse than they could; compare by weights for all
qualities.

Each image is written to scores.jsonl at once, and a run that was interrupted goes on from there.
"""
# ruff: noqa: T201

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.curves import new_figure
from tgjar_arch.atomic_file import atomic
from tgjar_arch.choosing.choose import choose_caption
from tgjar_arch.choosing.compose import compose_caption
from tgjar_arch.choosing.criteria import CRITERIA, SHORTLIST
from tgjar_arch.choosing.judge import CaptionJudge, receive
from tgjar_arch.choosing.nearness import lpips_for
from tgjar_arch.choosing.words import BUILT_IN, read_words, words_of
from tgjar_arch.evaluation.bootstrap import mean_interval, paired_interval
from tgjar_arch.evaluation.load_restorer import load_restorer
from tgjar_arch.evaluation.measures import Measure, build_measures
from tgjar_arch.evaluation.tables import Table
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.segments import add_segments
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.weights.shipped import find_weights

METRICS = ('lpips', 'lpips_squeeze', 'psnr')
NONE, FIRST = 'no caption', 'first caption'
Scored = dict[str, Any]  # 'bytes' of the file, 'scores' by metric, and of a row its 'caption'


def at_size(ladder: Sequence[Scored], size: float, metric: str) -> float:
    """A metric at a file size in bytes, between two qualities: linear in bytes.

    Args:
        ladder: files of rising quality. One that is no longer than an earlier one takes its place.
        size: in bytes; beyond the ladder its end counts.
        metric: its name in 'scores'.
    """
    kept: list[Scored] = []
    for rung in ladder:
        while kept and kept[-1]['bytes'] >= rung['bytes']:
            kept.pop()
        kept.append(rung)
    return float(np.interp(size, [rung['bytes'] for rung in kept], [rung['scores'][metric] for rung in kept]))


def measure_image(restorer: Restorer, images: EvaluationSet, name: str, qf: int, measures: Sequence[Measure],
                  options: argparse.Namespace, words: Sequence[str], lpips: Any) -> dict[str, Any]:
    """One image at one quality: {'rows': row -> Scored, 'ladder': [Scored, ...] of rising quality}."""
    original, captions = images.original(name), images.every_caption(name)
    content = images.jpeg(name, qf)

    def scored(restored: np.ndarray, size: int) -> Scored:
        picture = np.ascontiguousarray(restored[..., ::-1])
        scores = {measure.name: measure.score(picture, original) for measure in measures if measure.score is not None}
        return {'bytes': size, 'scores': scores}

    judge = CaptionJudge(restorer, np.ascontiguousarray(original[..., ::-1]), receive(content), options.by[0], lpips)
    texts = {NONE: '', FIRST: captions[0] if captions else ''}
    limits = (options.caption_bytes, options.tolerance)
    for by in options.by:
        texts[f'chosen by {by}'] = choose_caption(judge.judging_by(by), captions, *limits).chosen.caption
        if options.compose:
            composed = compose_caption(judge.judging_by(by), [*words, *words_of(captions)], *limits, options.shortlist)
            texts[f'composed by {by}'] = composed.chosen.caption
    known: dict[str, Scored] = {}
    for text in texts.values():
        if text not in known:
            known[text] = scored(judge.restored(text), len(add_segments(content, comment=text.encode())))
    rows = {row: {'caption': text, **known[text]} for row, text in texts.items()}
    most = max(row['bytes'] for row in rows.values())
    ladder = [known['']]
    for quality in range(qf + 1, 101):
        if len(ladder) > options.ladder and ladder[-1]['bytes'] >= most:
            break
        better = images.jpeg(name, quality)
        restored = restorer(receive(better).pixels)
        ladder.append(scored(restored, len(better)))
    return {'rows': rows, 'ladder': ladder}


def read_done(file: Path, settings: Mapping[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """What an earlier run with the same settings has measured: (quality, image) -> as of `measure_image`.

    Raises:
        ValueError: when the run had other settings.
    """
    if not file.exists():
        return {}
    records = []
    for line in file.read_text(encoding='utf-8').splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the end of a run that was killed
            break
    if not records or records[0] != settings:
        raise ValueError(f'{file} is of a run with other settings; name another folder with -o.')
    return {(record['qf'], record['name']): record for record in records[1:]}


def run(restorer: Restorer, images: EvaluationSet, measures: Sequence[Measure], options: argparse.Namespace,
        settings: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Measure all, as far as an earlier run has not: quality -> as of `measure_image`, in the order of the images."""
    file = options.output / 'scores.jsonl'
    done = read_done(file, settings)
    with atomic(file) as temporary:  # without half a line at the end
        lines = [settings, *done.values()]
        temporary.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
    lpips = lpips_for('lpips', restorer.device)
    with open(file, 'a', encoding='utf-8') as out:
        for qf in options.qf:
            for name in tqdm(images.names, desc=f'quality {qf}', unit='image', disable=options.quiet):
                if (qf, name) not in done:
                    found = measure_image(restorer, images, name, qf, measures, options, settings['words'], lpips)
                    done[qf, name] = {'qf': qf, 'name': name, **found}
                    out.write(json.dumps(done[qf, name]) + '\n')
                    out.flush()
    return {qf: [done[qf, name] for name in images.names] for qf in options.qf}


def tables(found: Mapping[int, Sequence[Mapping[str, Any]]], measures: Sequence[Measure]) -> list[Table]:
    """For each quality: the scores, and the gains over no caption, over the first, and over the same bytes as JPEG."""
    made = []
    for qf, images in found.items():
        rows = list(images[0]['rows'])

        def scores(row: str, metric: str, images: Sequence = images) -> list[float]:
            return [image['rows'][row]['scores'][metric] for image in images]

        def as_jpeg(row: str, metric: str, images: Sequence = images) -> list[float]:
            return [at_size(image['ladder'], image['rows'][row]['bytes'], metric) for image in images]

        def added(row: str, images: Sequence = images) -> str:
            more = mean_interval([image['rows'][row]['bytes'] - image['rows'][NONE]['bytes'] for image in images])
            return f'{more.mean:.1f}'

        def gain(measure: Measure, before: list[float], after: list[float]) -> str:
            one = paired_interval(before, after) if measure.higher else paired_interval(after, before)
            return f'{one.mean:+.{measure.digits}f} ± {one.half:.{measure.digits}f}'

        size = np.mean([image['rows'][NONE]['bytes'] for image in images])
        header = ['', 'bytes added']
        made.append(Table(
            f'scores_q{qf}', f'Quality {qf}: means', [*header, *(measure.heading for measure in measures)],
            [[row, added(row), *(f'{np.mean(scores(row, m.name)):.{m.digits}f}' for m in measures)] for row in rows],
            notes=[f'{len(images)} images; without a caption a file has {size:,.0f} bytes.']))
        header += [measure.label for measure in measures]
        gained = 'What is gained; + is better. ±: half of the 95 % interval over the images.'
        others = [row for row in rows if row != NONE]
        made.append(Table(f'over_none_q{qf}', f'Quality {qf}: over no caption', header,
                          [[row, added(row), *(gain(m, scores(NONE, m.name), scores(row, m.name)) for m in measures)]
                           for row in others], notes=[gained]))
        made.append(Table(f'over_first_q{qf}', f'Quality {qf}: over the first caption', header,
                          [[row, added(row), *(gain(m, scores(FIRST, m.name), scores(row, m.name)) for m in measures)]
                           for row in others if row != FIRST], notes=[gained]))
        made.append(Table(
            f'as_jpeg_q{qf}', f'Quality {qf}: what the same bytes gain as JPEG data, over no caption', header,
            [[row, added(row), *(gain(m, scores(NONE, m.name), as_jpeg(row, m.name)) for m in measures)]
             for row in others],
            notes=[f'{gained} The restored ladder of qualities, interpolated in bytes at the size of each file with '
                   'its caption.']))
        made.append(Table(
            f'over_jpeg_q{qf}', f'Quality {qf}: the caption over the same bytes as JPEG data', header,
            [[row, added(row), *(gain(m, as_jpeg(row, m.name), scores(row, m.name)) for m in measures)]
             for row in others], notes=[gained]))
    return made


def draw(found: Mapping[int, Sequence[Mapping[str, Any]]], measures: Sequence[Measure], output: Path) -> None:
    """Draw the rate-distortion picture: a row of panels a quality, a panel a metric.

    The line is the ladder without captions, through the mean of each quality; the marks are files with captions.

    Raises:
        ImportError: when matplotlib is missing.
    """
    figure = new_figure(4 * len(measures), 3.2 * len(found) + 0.6)
    axes = figure.subplots(len(found), len(measures), squeeze=False)
    for panels, (qf, images) in zip(axes, found.items(), strict=True):
        rungs = min(len(image['ladder']) for image in images)
        sizes = [np.mean([image['ladder'][k]['bytes'] for image in images]) for k in range(rungs)]
        for axis, measure in zip(panels, measures, strict=True):
            means = [np.mean([image['ladder'][k]['scores'][measure.name] for image in images]) for k in range(rungs)]
            axis.plot(sizes, means, color='0.4', marker='o', markersize=3, linewidth=1.2, label='JPEG alone, restored')
            for k in range(rungs):
                axis.annotate(f'q{qf + k}', (sizes[k], means[k]), textcoords='offset points', xytext=(3, 4), fontsize=6)
            rows = [row for row in images[0]['rows'] if row != NONE]
            for row, marker in zip(rows, 'sD^vPX*<>'[:len(rows)], strict=True):
                axis.plot(np.mean([image['rows'][row]['bytes'] for image in images]),
                          np.mean([image['rows'][row]['scores'][measure.name] for image in images]),
                          marker, markersize=6, label=row)
            axis.set_title(f'quality {qf}, {measure.label} ({"higher" if measure.higher else "lower"} is better)',
                           fontsize=9)
            axis.set_xlabel('bytes a file', fontsize=8)
            axis.tick_params(labelsize=7)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=min(5, len(labels)), fontsize=8)
    with atomic(output) as temporary:
        figure.savefig(temporary, dpi=130, format='png')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.choose', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA', help='test images with captions, as `tgjar evaluate` takes')
    parser.add_argument('--weights', type=Path, help='file of `tgjar export`, or the name of shipped weights')
    parser.add_argument('--qf', type=int, nargs='+', default=[1, 5], metavar='Q', help='JPEG quality factors')
    parser.add_argument('--images', type=int, default=100, metavar='N', help='images, evenly spread (default: 100)')
    parser.add_argument('--crop', type=int, default=256, metavar='N', help='centre of the images (default: 256)')
    parser.add_argument('--by', nargs='+', choices=CRITERIA, default=['lpips'], help='criteria, rows for each')
    parser.add_argument('--no-compose', dest='compose', action='store_false', help='only choose between the captions')
    parser.add_argument('--words', default=BUILT_IN, metavar='FILE', help='to compose of, one a line')
    parser.add_argument('--caption-bytes', type=int, metavar='N', help='longest caption')
    parser.add_argument('--tolerance', type=float, default=0., metavar='T')
    parser.add_argument('--shortlist', type=int, default=SHORTLIST, metavar='N')
    parser.add_argument('--ladder', type=int, default=3, metavar='N', help='qualities above, at least (default: 3)')
    parser.add_argument('--device', metavar='NAME')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    parser.add_argument('-o', '--output', type=Path, default=Path('results/choose'), metavar='FOLDER')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        weights = find_weights(options.weights)
        restorer, fingerprint = load_restorer(weights, options.device)
        images = EvaluationSet(options.data, options.crop, options.images)
        measures, _ = build_measures(METRICS)
        settings = {'weights': fingerprint, 'data': str(options.data), 'words': read_words(options.words), **{
            name: getattr(options, name) for name in ('crop', 'by', 'compose', 'caption_bytes', 'tolerance',
                                                      'shortlist', 'ladder')}}
        found = run(restorer, images, measures, options, settings)
        made = tables(found, measures)
        draw(found, measures, options.output / 'rate_distortion.png')
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f'choose: {error}', file=sys.stderr)
        return 2
    text = '\n'.join([f'# Chosen captions: {weights.stem} on {options.data}\n', *(table.markdown() for table in made)])
    for name, content in {'tables.md': text, **{f'{table.name}.csv': table.csv() for table in made}}.items():
        with atomic(options.output / name) as temporary:
            temporary.write_text(content, encoding='utf-8')
    print(text)
    print(f'In {options.output}: tables.md, rate_distortion.png, scores.jsonl (with every caption)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
