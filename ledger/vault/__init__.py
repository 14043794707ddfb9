# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault: committed values sealed per data subject, so that one person's can be destroyed.

    blob         = AES-256-GCM(DEK; the disclosures of one subject in one event)   `sealed`
    wrapped DEK  = AES-256-GCM(subject key; DEK)                                   `sealed`
    wrapped key  = keystore's wrap(subjects/<origin>/<generation>; subject key)    `subject`
    blind index  = HMAC(index/<origin>/<generation>, field, 0, NFC(value))         `blind`

Nothing here is hashed into the log: the entry holds salted digests, and they stand whatever becomes
of the values. To destroy a person's values is to destroy the subject key *and every wrapped copy*
of it, also those in old pages of the database, its WAL and its backups: the keys of all others are
wrapped anew under the next generation, then the old generation's key is destroyed.
Source: NIST SP 800-38D (GCM), RFC 9901 (disclosures), SP 800-88r2 (cryptographic erase).
"""
