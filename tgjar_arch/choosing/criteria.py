"""By what a restored picture is near to the original. Nothing heavy is imported: the help of a command names these."""

LPIPS_PER_DB = 0.05
"""How much LPIPS one dB is worth to `mix`: about how both move when more bytes are spent.

From JPEG quality 1 to 5, restored with `tgjar_universal`, LPIPS falls by 0.03 a dB on birds (CUB) and by 0.07 on
photographs (Kodak).
"""
CRITERIA = ('lpips', 'psnr', 'mix')
UNITS = {'lpips': 'LPIPS', 'psnr': 'dB', 'mix': f'LPIPS, 1 dB counting as {LPIPS_PER_DB}'}
SHORTLIST = 24  # words that go on after the first round of composing


def check_criterion(by: str) -> None:
    """Raises ValueError when there is no such criterion."""
    if by not in CRITERIA:
        raise ValueError(f'captions are chosen by one of {", ".join(CRITERIA)}, not by {by!r}.')
