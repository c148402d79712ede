"""Labels the images of an S3-compatible store, beside the store."""

__version__ = "0.1.0"
