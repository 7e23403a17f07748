"""The figures printed in the paper's Tables 1 to 6, to stand beside ours.

Jiang et al., Multi-Modality Deep Network for JPEG Artifacts Reduction, IJCAI 2023. PSNR: higher is better; LPIPS, FID,
PI and NIQE: lower is better. Images are in colour and 256x256.
"""

import re
from dataclasses import dataclass
from pathlib import Path

METHODS = ('JPEG', 'EDSR', 'RNAN', 'QGCN', 'FBCNN', 'TGJAR')
DATASETS = {'cub': 'CUB', 'oxford102': 'Oxford-102', 'coco': 'COCO', 'kodak': 'Kodak'}
PERCEPTUAL = ('lpips', 'fid', 'pi', 'niqe')  # the cells of Tables 1, 3, 4 and 6, in this order


@dataclass(frozen=True)
class PaperRow:
    """One method at one quality factor: `scores` by metric, `table` the number of the table it stands in."""

    table: str
    dataset: str
    qf: int
    method: str
    scores: dict[str, float]

    @property
    def source(self) -> str:
        """Where it stands, such as `Tables 1 and 2`."""
        return f'{"Tables" if " " in self.table else "Table"} {self.table}'


@dataclass(frozen=True)
class PaperCost:
    """A row of Table 5: parameters in millions (truncated, not rounded), seconds an image on a GTX 1080 Ti."""

    method: str
    parameters: float
    seconds: float


_TABLE_1 = {
    ('CUB', 1): '.505/202.5/11.45/19.43 .349/92.8/8.17/10.36 .356/93.4/7.89/9.74 .341/90.8/8.54/11.00 '
                '.332/74.2/8.56/11.06 .249/17.9/6.95/8.62',
    ('CUB', 5): '.375/116.3/8.87/14.39 .248/59.6/7.19/9.34 .253/54.3/6.99/8.81 .239/53.9/7.56/9.91 '
                '.237/47.5/7.58/9.84 .154/10.7/6.12/8.08',
    ('CUB', 10): '.228/42.9/6.72/10.32 .156/34.3/6.45/8.71 .161/36.9/6.08/8.14 .154/33.0/6.72/9.09 '
                 '.155/31.2/6.65/8.90 .089/6.9/5.60/7.69',
    ('Oxford-102', 1): '.493/222.3/10.68/18.64 .309/74.1/7.91/9.70 .315/75.7/7.62/9.14 .294/72.1/7.97/10.04 '
                       '.290/66.6/7.94/9.98 .224/42.0/6.34/7.83',
    ('Oxford-102', 5): '.342/126.6/8.18/13.29 .201/60.2/6.90/8.49 .206/59.3/6.76/8.14 .190/58.5/6.96/8.77 '
                       '.190/53.8/6.97/8.70 .142/32.2/5.70/7.36',
    ('Oxford-102', 10): '.185/60.3/6.21/9.37 .125/48.1/6.27/7.85 .128/47.6/6.15/7.68 .116/46.5/6.28/8.08 '
                        '.120/42.4/6.35/8.08 .080/25.4/5.53/7.11',
}
_TABLE_2 = {
    ('CUB', 1): '21.8 24.4 24.3 24.6 24.7 24.4', ('CUB', 5): '24.3 26.9 26.7 27.2 27.2 26.8',
    ('CUB', 10): '27.4 29.8 29.6 30.0 29.9 29.7', ('Oxford-102', 1): '21.3 24.0 23.9 24.2 24.2 24.0',
    ('Oxford-102', 5): '23.7 26.6 26.4 26.9 26.9 26.5', ('Oxford-102', 10): '26.8 29.6 29.4 30.0 29.8 29.5',
}
_TABLE_3 = (  # CUB, QF 1: what the model is trained with, PSNR, the rest; the last row is in the appendix
    ('L_R+L_G', 24.4, '.342/79.7/8.57/11.04'),
    ('L_R+L_G+GFM+L_IT', 24.4, '.314/28.4/8.43/10.93'),
    ('L_R+L_G+LFM+L_IT', 24.2, '.307/36.7/8.44/11.05'),
    ('L_R+L_G+GFM+LFM+L_IT', 24.3, '.308/33.3/8.36/10.86'),
    ('L_R+L_G+GFM+LFM+L_IT+L_C', 24.4, '.249/17.9/6.95/8.62'),
    ('L_R+L_G+L_C', None, '.288/56.7/7.01/8.82'),
)
_TABLE_4 = (  # QF 1, trained on COCO
    ('COCO', 'EDSR', '.458/165.3/7.63/9.19'), ('COCO', 'TGJAR', '.269/70.6/5.91/7.68'),
    ('Kodak', 'EDSR', '.561/255.3/6.17/7.05'), ('Kodak', 'TGJAR', '.348/120.5/4.43/5.51'),
)
_TABLE_6 = (  # CUB, QF 1: lambda_1 weighs L_C, lambda_4 weighs L_IT
    ('lambda_1=0.1', '.231/22.4/6.83/8.34'), ('lambda_1=0.01', '.249/17.9/6.95/8.62'),
    ('lambda_1=0.001', '.280/16.5/7.23/9.66'), ('lambda_4=0.001', '.257/17.5/7.02/8.83'),
    ('lambda_4=0.0005', '.249/17.9/6.95/8.62'), ('lambda_4=0.0001', '.246/18.8/6.99/8.80'),
)
TABLE_5 = (PaperCost('EDSR', 19.4, .178), PaperCost('RNAN', 8.9, .505), PaperCost('QGCN', 12.3, .605),
           PaperCost('FBCNN', 71.9, .262), PaperCost('TGJAR', 6.9, .087))


def _perceptual(cell: str) -> dict[str, float]:
    return dict(zip(PERCEPTUAL, map(float, cell.split('/')), strict=True))


def _rows() -> list[PaperRow]:
    rows = []
    for (dataset, qf), line in _TABLE_1.items():
        psnr = _TABLE_2[dataset, qf].split()
        rows += [PaperRow('1 and 2', dataset, qf, method, {'psnr': float(db)} | _perceptual(cell))
                 for method, cell, db in zip(METHODS, line.split(), psnr, strict=True)]
    rows += [PaperRow('3', 'CUB', 1, method, ({} if psnr is None else {'psnr': psnr}) | _perceptual(cell))
             for method, psnr, cell in _TABLE_3]
    rows += [PaperRow('4', dataset, 1, method, _perceptual(cell)) for dataset, method, cell in _TABLE_4]
    rows += [PaperRow('6', 'CUB', 1, method, _perceptual(cell)) for method, cell in _TABLE_6]
    return rows


ROWS = tuple(_rows())
_TEST = re.compile('(?<![a-z])test(?![a-z])')  # test, cub_test, test2017, test.lmdb, not latest
CHOICES = (*DATASETS, 'table3', 'table6')


def paper_rows(choice: str) -> list[PaperRow]:
    """The paper's rows to compare with.

    Args:
        choice: a data set, `cub`, `oxford102` (Tables 1 and 2), `coco` or `kodak` (Table 4); or `table3` (ablation of
            losses and modules) or `table6` (weights of the losses), both on CUB at QF 1.

    Raises:
        ValueError: when it is none of these.
    """
    if choice not in CHOICES:
        raise ValueError(f'{choice!r} is none of {", ".join(CHOICES)}.')
    if choice.startswith('table'):
        return [row for row in ROWS if row.table == choice.removeprefix('table')]
    return [row for row in ROWS if row.dataset == DATASETS[choice] and row.table in ('1 and 2', '4')]


def guess_dataset(root: str) -> str | None:
    """The paper's data set that a path to its test images speaks of, such as `cub` for `data/cub/test`; else None.

    Only the last two folders are looked at, and of a data set with a training part one must be called a test set:
    the paper's figures are of test sets, so `data/cub/train` and `data/cub` have none.
    """
    parts = [part.lower() for part in Path(root).parts[-2:]]
    for k in reversed(range(len(parts))):
        part = re.sub('oxford[-_ ]?102', 'oxford102', parts[k])
        for name in DATASETS:
            if re.match(f'{name}(?![a-z])', part):  # cub_crops, coco2017, not cubes
                return name if name == 'kodak' or any(map(_TEST.search, parts[k:])) else None
    return None
