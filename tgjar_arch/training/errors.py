"""What a mistake of the user's raises."""


class OptionError(Exception):
    """A mistake of the user's that one line explains: which file, which key, what to do."""
