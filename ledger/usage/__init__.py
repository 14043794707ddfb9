# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls of models cost, by whom and for whom; and an invoice held against it.

Money is decimal from the client's string to the answer, added up by PostgreSQL's `numeric`, and
never across currencies. Persons and sessions are not in these tables: they are grouped through the
vault, by a random name or a blind index, and opened only for whoever states a purpose.
"""
