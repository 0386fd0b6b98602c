"""Every error that sinr3d raises on purpose, each with the exit code of the command line."""


class SinrError(Exception):
    """Base of all errors of this package; the message names what is wrong and the remedy."""

    exit_code = 1


class MissingFileError(SinrError):
    """An input file does not exist or cannot be read."""


class MissingPriorError(SinrError):
    """A file is stored as what it adds to a prior, and the prior's file is not to be found."""


class OutputExistsError(SinrError):
    """The output exists and overwriting was not asked for."""


class TargetError(SinrError):
    """The quality or size asked for cannot be reached with the settings given."""


class UsageError(SinrError):
    """The options contradict each other, or a suffix names no known format."""

    exit_code = 2


class MalformedInputError(SinrError):
    """An input is not what its name says."""

    exit_code = 3


class ImageError(MalformedInputError):
    """Not an image, or an image that cannot be encoded."""


class MeshError(MalformedInputError):
    """Not a mesh or volume, or one that cannot be encoded."""


class EmptyMeshError(MeshError):
    """A mesh without faces, or without any volume or area."""


class NonFiniteMeshError(MeshError):
    """A mesh with NaN or infinite vertices."""


class OpenMeshError(MeshError):
    """An open sheet: a surface that encloses nothing, so inside is not defined."""


class CorruptFileError(MalformedInputError):
    """A .sinr file whose contents break the rules of the format."""


class NotSinrError(CorruptFileError):
    """The file does not begin with the magic of a .sinr file."""


class TruncatedFileError(CorruptFileError):
    """The file ends before its last section does."""


class ChecksumError(CorruptFileError):
    """A section's checksum does not match its bytes."""


class LimitError(CorruptFileError):
    """The file claims sizes beyond the limits of the format."""


class UnsupportedVersionError(SinrError):
    """The file's format version is newer than this reader."""

    exit_code = 4


class UnsupportedFeatureError(SinrError):
    """The file requires a feature that this reader does not have."""

    exit_code = 4
