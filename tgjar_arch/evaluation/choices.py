"""What `tgjar evaluate` lets one choose; nothing is imported here, so that its help and errors come at once."""

METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'pi', 'niqe', 'ma', 'lpips_vgg', 'lpips_squeeze', 'frechet_alexnet',
           'ab_error', 'ab_error_centre')
DEFAULT_METRICS = ('psnr', 'ssim', 'lpips', 'fid', 'pi', 'niqe', 'ab_error')
CAPTION_KINDS = ('right', 'wrong', 'none')
