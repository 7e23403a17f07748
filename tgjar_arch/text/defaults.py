"""Defaults that the help of the command line names; here, where nothing is imported, so that it comes at once."""

DEFAULT_MODEL = 'Salesforce/blip-image-captioning-base'  # describes images
DEFAULT_MAX_WORDS = 18  # words kept of a caption, as AttnGAN does for birds
