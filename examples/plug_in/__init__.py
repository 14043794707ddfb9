# SPDX-License-Identifier: Apache-2.0
"""Two ways to plug in: a program that changes nothing, and a model of one's own."""
