# SPDX-License-Identifier: GPL-3.0-or-later
"""What is too large for an entry, or too old for the database: sealed bytes in write-once storage.

store.py        what an archive promises, whichever storage is behind it
directory.py    one in a directory: keeps honest programs from deleting, nobody else
s3.py           one in a bucket with Object Lock in compliance mode: keeps everybody from it
"""
