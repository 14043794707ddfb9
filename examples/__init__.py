# SPDX-License-Identifier: Apache-2.0
"""Programs that use Sealtrail from outside: they import `sealtrail`, never the server."""
