"""The exception tree: everything adtrie raises on purpose is an `AdtrieError`.

Messages say what is wrong, what was expected, what was found and what to do.
"""


class AdtrieError(Exception):
    """Base of all errors adtrie raises on purpose."""


class ModelError(AdtrieError):
    """A model could not be found, fetched or is of an unsupported kind."""


class FormatError(AdtrieError):
    """A file is truncated, damaged, hostile or of another version; names the file and field."""


class TokenizerError(AdtrieError):
    """A tokenizer is damaged, or does not fit the model or the catalogue."""


class CatalogueError(AdtrieError):
    """A catalogue could not be built, opened or does not fit the model."""


class InputError(AdtrieError):
    """A query, option or argument is outside its documented range."""


class CapacityError(AdtrieError):
    """A request needs more memory, context or rows than it may use."""


def shown(value: object) -> str:
    """The value for an error, at most 60 characters."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
