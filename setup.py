"""Builds the kernels with a hash of their sources inside, which tells a library that is older than they.

All else is in pyproject.toml.
"""

import runpy

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

digest = runpy.run_path("src/proximo/core/engines/native/sources.py")["digest"]


class BuildKernels(build_ext):
    """Always compiles: a library that was copied here is newer than the sources, and may be of others."""

    def build_extension(self, ext: Extension) -> None:
        """Hand the hash to the compiler."""
        self.force = True
        ext.define_macros.append(("PROXIMO_SOURCES", f'"{digest()}"'))
        super().build_extension(ext)


setup(cmdclass={"build_ext": BuildKernels})
