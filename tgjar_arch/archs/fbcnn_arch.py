"""FBCNN, a blind JPEG restorer with an adjustable quality factor, through the library spandrel."""

from collections.abc import Sequence

from torch import Tensor, nn


def _spandrel_class() -> type[nn.Module]:
    """The network's class in spandrel, imported where it is used: the library is optional."""
    try:
        from spandrel.architectures.FBCNN import FBCNN as network  # noqa: N811
    except ImportError as error:
        raise ImportError('FBCNN needs the library spandrel; install it with `pip install tgjar[fbcnn]`, or '
                          '`pip install spandrel`.') from error
    return network


class FBCNN(nn.Module):
    """Flexible blind convolutional network, a baseline of the paper's tables.

    Jiang et al., "Towards Flexible Blind JPEG Artifacts Removal", ICCV 2021, https://github.com/jiaxi-jiang/FBCNN. The
    layers are spandrel's, under their public names: `fbcnn_color.pth` loads as it is. Unlike there, `forward` returns
    the image alone, as BasicSR's trainer wants it. With the defaults 71,921,796 parameters.

    Args:
        num_in_ch: image channels, 3 or 1.
        num_feat: channels at full, 1/2, 1/4 and 1/8 resolution; the last is always 512.
        num_block: residual blocks of each stage.
        qf_input: 1 - QF / 100 that every image is restored for, from 0 (hardly any change) to 1 (strongest smoothing);
            None takes the network's own estimate.

    Raises:
        ImportError: when spandrel is not installed.
        ValueError: when `num_feat` has not four entries, the last is not 512, or `qf_input` is not in [0, 1].
    """

    def __init__(self, num_in_ch: int = 3, num_feat: Sequence[int] = (64, 128, 256, 512), num_block: int = 4,
                 qf_input: float | None = None) -> None:
        super().__init__()
        if len(num_feat) != 4 or num_feat[3] != 512:
            raise ValueError('FBCNN: num_feat has one entry for each of the four resolutions, the last of them 512, '
                             f'but is {list(num_feat)}.')
        if qf_input is not None and not 0 <= qf_input <= 1:
            raise ValueError(f'FBCNN: qf_input is 1 - QF / 100, from 0 to 1, but is {qf_input!r}; for quality factor '
                             '10 give 0.9, for the own estimate of the network ~ .')
        self.num_in_ch = num_in_ch
        self.qf_input = qf_input
        network = _spandrel_class()(in_nc=num_in_ch, out_nc=num_in_ch, nc=list(num_feat), nb=num_block)
        # Taken over one by one: as one member, they would all be called `network.*` in the state dict.
        for name, layers in network.named_children():
            self.add_module(name, layers)
        self.nb = network.nb

    def forward(self, x: Tensor, qf_input: Tensor | None = None,
                return_qf: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Restore.

        Args:
            x: images (N, num_in_ch, H, W) in [0, 1], any H and W.
            qf_input: (N, 1), 1 - QF / 100 to restore each image for; None takes the constructor's, or the estimate.
            return_qf: return the estimate too.

        Returns:
            Restored images (N, num_in_ch, H, W), not clipped; with `return_qf` also the estimate (N, 1) of
            1 - QF / 100.

        Raises:
            ValueError: when a shape does not fit.
        """
        if x.ndim != 4 or x.shape[1] != self.num_in_ch:
            raise ValueError(f'FBCNN expects images (N, {self.num_in_ch}, H, W), but got {tuple(x.shape)}.')
        if qf_input is not None and tuple(qf_input.shape) != (x.shape[0], 1):
            raise ValueError(f'FBCNN expects qf_input ({x.shape[0]}, 1), 1 - QF / 100 of each image, but got '
                             f'{tuple(qf_input.shape)}.')
        if qf_input is None and self.qf_input is not None:
            qf_input = x.new_full((x.shape[0], 1), self.qf_input)
        image, qf = _spandrel_class().forward(self, x, qf_input)
        return (image, qf) if return_qf else image
