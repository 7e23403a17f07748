"""Data sets and model are built before BasicSR archives the old experiment of the same name.

BasicSR makes its folders first, and moves an old experiment away for it. What a constructor, a file or a checkpoint
then refuses has cost the user the place of the old results. Here everything is built once, in BasicSR's order and from
the same random state, tried on a batch of the training, and handed out where BasicSR would build it; the log of it is
written when there is a log file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from basicsr.utils import logger as basicsr_logger

from tgjar_arch.training.errors import OptionError
from tgjar_arch.training.first_batch import try_first_batch

_NAME = 'basicsr'
_LONGEST = 600  # characters of what is said of an error


class TrainingBuilt:
    """The loaders and the model of a training.

    Args:
        create: `create_train_val_dataloader` of `basicsr.train`.
        build_model: its `build_model`.
        path: the option file, for messages.
    """

    def __init__(self, create: Callable[[dict, Any], tuple], build_model: Callable[[dict], Any], path: str) -> None:
        self._create, self._build_model, self._path = create, build_model, path
        self._records: list[logging.LogRecord] = []
        self._loaders: tuple = ()
        self.model: Any = None

    def build(self, opt: dict) -> None:
        """Build both from BasicSR's parsed options, and try them on a batch.

        Raises:
            OptionError: when the batch cannot be drawn, or does not go through the networks.
        """
        with _kept_log() as self._records:
            self._loaders = self._create(opt, logging.getLogger(_NAME))
            self.model = self._build_model(opt)
        with _kept_log(shows_warnings=False) as said:  # the training says it again
            try:
                try_first_batch(self._loaders[0], self.model)
            except Exception as error:
                text = ' '.join(str(error).split())[:_LONGEST] or type(error).__name__
                warnings = [record.getMessage() for record in said if record.levelno >= logging.WARNING]
                hint = f' The first: {warnings[0]}' if warnings else ''
                raise OptionError(f'{self._path}: the first batch of datasets:train does not go through: {text}{hint}'
                                  ) from error

    def loaders(self, opt: dict, logger: logging.Logger) -> tuple:
        """In the place of `create_train_val_dataloader`."""
        _write(self._records)
        return self._loaders

    def built_model(self, opt: dict) -> Any:
        """In the place of `build_model`."""
        return self.model


class TestBuilt:
    """The data sets and the model of a test.

    Args:
        build_dataset, build_model, make_folders: the functions of `basicsr.test`, `make_exp_dirs` the last.
    """

    __test__ = False  # for pytest, which collects classes of such names

    def __init__(self, build_dataset: Callable[[dict], Any], build_model: Callable[[dict], Any],
                 make_folders: Callable[[dict], None]) -> None:
        self._build_dataset, self._build_model, self._make_folders = build_dataset, build_model, make_folders
        self._records: list[logging.LogRecord] = []
        self._datasets: Iterator[Any] = iter(())
        self._model: Any = None

    def make_folders(self, opt: dict) -> None:
        """In the place of `make_exp_dirs`: build, then make the folders."""
        with _kept_log() as self._records:
            self._datasets = iter([self._build_dataset(block) for _, block in sorted(opt['datasets'].items())])
            self._model = self._build_model(opt)
        self._make_folders(opt)

    def dataset(self, opt: dict) -> Any:
        """In the place of `build_dataset`, which BasicSR calls in the order of the names."""
        _write(self._records)
        self._records = []
        return next(self._datasets)

    def model(self, opt: dict) -> Any:
        """In the place of `build_model`."""
        return self._model


@contextmanager
def _kept_log(shows_warnings: bool = True) -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged, for BasicSR opens its log file the first time that somebody asks for its logger.

    After an error the warnings go to the terminal, if wanted: they may say why.
    """
    logger, started = logging.getLogger(_NAME), basicsr_logger.initialized_logger
    before = (logger.handlers, logger.level, logger.propagate, _NAME in started)
    keeper = _Keeper()
    logger.handlers, logger.propagate = [keeper], False
    logger.setLevel(logging.INFO)
    started[_NAME] = True
    try:
        yield keeper.records
    except Exception:
        for record in keeper.records:
            if shows_warnings and record.levelno >= logging.WARNING:
                print(record.getMessage(), file=sys.stderr)
        raise
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
        if not before[3]:
            del started[_NAME]


def _write(records: list[logging.LogRecord]) -> None:
    logger = logging.getLogger(_NAME)
    for record in records:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
