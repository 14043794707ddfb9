# SPDX-License-Identifier: Apache-2.0
"""A small, real image pipeline whose every step is recorded before its result is handed on."""

import os

# One thread for the matrix products: a sum that is split over threads is rounded differently,
# and then the digest of the weights would depend on how busy the machine was. This has to be
# said before NumPy is imported for the first time; a program that imported it earlier keeps
# the number of threads it has, and its digests are repeatable only with that number.
for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_library, "1")
