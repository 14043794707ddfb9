# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share lies beside this file, which puts its folder on the path."""
