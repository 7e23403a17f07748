"""What a disk does to those who write on it: full, read-only, and other faults, in words."""

import errno
import os
import re

_WORDS = {
    errno.ENOSPC: 'the disk is full',
    errno.EROFS: 'the disk is read-only',
    errno.EFBIG: 'the disk, or a limit, allows no file of this size',
    errno.EIO: 'the disk fails',
} | ({errno.EDQUOT: 'the quota of the disk is used up'} if hasattr(errno, 'EDQUOT') else {})
_NOT_ALLOWED = 'the folder on the disk may not be written'
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_RUST = re.compile(r'\(os error (\d+)\)')  # of safetensors


def disk_fault(error: BaseException | None, is_writing: bool = False) -> str | None:
    """Say in words that name the disk why something could not be written; None if it is for another reason.

    Args:
        error: what was raised; what it arose from is looked at too.
        is_writing: whether a missing permission was one to write.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        code = getattr(error, 'errno', None) or 0
        if not code and (found := _RUST.search(str(error))):
            code = int(found[1])
        words = _WORDS.get(code) or (_NOT_ALLOWED if code in _FORBIDDEN and is_writing else None)
        if words is not None:
            return f'{words} ({os.strerror(code)})'
        error = error.__cause__ or error.__context__
    return None
