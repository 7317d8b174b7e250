"""The errors that the pipeline raises on purpose.

A message says what was found, what was expected and what to do next. The command line prints it on one
line, without a traceback, and exits with status 1.

    PipelineError
    +- ParamsError          params.yaml: unknown key, value out of range
    +- DataError            what was read is not what it should be
    |  +- DownloadError     no mirror could be reached
    |  +- ChecksumError     a mirror answered with other bytes than the published ones
    |  +- FormatError       not an IDX, .npy, .npz, PNG, JPEG, tar or Parquet file as expected
    +- TrainingError        a loss that is not finite, a collapsed posterior, or networks out of balance
    +- ExportError          a converted model failed its proof
    +- ModelError           not an ONNX file, or one with another interface
    |  +- BundleError       a file of a bundle is missing or damaged, or does not do what its manifest says
    +- ToolError            a program that builds the page is missing, or fails
    +- MeasurementError     repeated measurements disagree
    +- ClusterError         no Ray cluster, or none that can do the job
    +- OutputError          the output folder holds something else, or cannot be written
"""


class PipelineError(Exception):
    """Anything that a user can mend: the base of every error raised on purpose."""


class ParamsError(PipelineError):
    """params.yaml is missing, unreadable, or holds an unknown key or an invalid value."""


class DataError(PipelineError):
    """Input data are missing or wrong."""


class DownloadError(DataError):
    """No mirror could be reached."""


class ChecksumError(DataError):
    """A file's bytes are not the published ones."""


class FormatError(DataError):
    """A file or an array does not have the expected format."""


class TrainingError(PipelineError):
    """Training does not lead to usable weights."""


class ExportError(PipelineError):
    """A converted model differs from its source or from the declared interface."""


class ModelError(PipelineError):
    """A model file cannot be used."""


class BundleError(ModelError):
    """A folder of models is not what its manifest says."""


class ToolError(PipelineError):
    """A program that is not a Python package is missing, or fails."""


class ClusterError(PipelineError):
    """A Ray cluster is missing, or its machines can't do the job."""


class OutputError(PipelineError):
    """Results cannot be written where they were asked for."""


class MeasurementError(PipelineError):
    """A figure that can't be trusted is not given."""
