"""`python -m tgjar_arch COMMAND ...` is `tgjar COMMAND ...`, also under torchrun."""

import sys

from tgjar_arch.cli.main import main

# Worker processes of the data loader import this file again.
if __name__ == '__main__':
    sys.exit(main())
