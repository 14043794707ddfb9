# SPDX-License-Identifier: GPL-3.0-or-later
"""What people have to decide or to do in time, as the entries tell it.

    MODERATION, GEN_ESCALATED, HUMAN_*, OUTPUT_*  ──►  reviews      cases, queues, deadlines
    TAKEDOWN                                      ──►  takedowns    the 48 hours of each request
    CONSENT_*                                     ──►  consents     what was promised, what began

Each is a projection of the read model: nothing is decided here. A decision is an event that a
person's token records, and what this says of it is made anew from the log at any time.
"""
