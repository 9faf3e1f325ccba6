"""The version of fastreg. The build and the package read it here."""

__version__ = "0.1.0"
