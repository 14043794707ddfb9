# SPDX-License-Identifier: GPL-3.0-or-later
"""By which names providers' exports call what a charge says."""

from collections.abc import Mapping
from typing import Final

#: What each member of a Charge is called, as exports of providers have it; names are compared in
#: lower case with `_` for what is neither letter nor digit. Several token columns are added up.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "request_id": (
        "request_id", "provider_request_id", "x_request_id", "req_id", "response_id",
        "completion_id", "message_id", "generation_id", "id",
    ),
    "at": ("timestamp", "created_at", "created", "time", "datetime", "request_time", "logged_at"),
    "start": (
        "start_time", "starting_at", "bucket_start", "period_start", "start_time_iso",
        "usage_date", "usage_date_utc", "date", "day",
    ),
    "end": ("end_time", "ending_at", "bucket_end", "period_end", "end_time_iso"),
    "model": ("model", "model_name", "model_id", "model_version", "snapshot_id", "deployment"),
    "input_tokens": (
        "input_tokens", "prompt_tokens", "n_context_tokens_total", "usage_input_tokens",
        "uncached_input_tokens", "usage_input_tokens_no_cache", "tokens_in",
        "cache_read_input_tokens", "cache_creation_input_tokens",
        "usage_input_tokens_cache_read", "usage_input_tokens_cache_write_5m",
        "usage_input_tokens_cache_write_1h",
    ),
    "output_tokens": (
        "output_tokens", "completion_tokens", "n_generated_tokens_total", "usage_output_tokens",
        "tokens_out",
    ),
    "images": ("images", "num_images", "n_images", "image_count"),
    "requests": ("num_model_requests", "n_requests", "num_requests", "request_count", "requests"),
    "cost": (
        "cost", "amount", "amount_value", "cost_usd", "cost_in_usd", "amount_usd", "total_cost",
        "charge", "price", "total",
    ),
    "currency": ("currency", "amount_currency", "currency_code"),
}  # fmt: skip
#: Members that several columns of one file may make up.
ADDED: Final = frozenset({"input_tokens", "output_tokens"})
