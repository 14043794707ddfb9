# SPDX-License-Identifier: GPL-3.0-or-later
# The server, for production: no compiler, no secret, no root. See compose.yaml for how it is run.

FROM python:3.13-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY client ./client
COPY ledger ./ledger
COPY anchoring ./anchoring
COPY evidence ./evidence
COPY api ./api
COPY scripts ./scripts
# embedded: pg_dump and pg_restore for `backup`, and a scratch server for `backup verify`.
RUN python -m venv /opt/sealtrail \
    && /opt/sealtrail/bin/pip install --no-cache-dir ./client '.[aws,images,embedded,redaction]'

FROM python:3.13-slim-bookworm
# Volumes take owner and mode from these directories when they are first mounted.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin sealtrail \
    && install -d -o sealtrail -g sealtrail -m 0700 /var/lib/sealtrail \
        /var/lib/sealtrail/keystore /var/lib/sealtrail/checkpoints \
        /var/lib/sealtrail/packets /var/lib/sealtrail/trust \
        /var/lib/sealtrail/archive /var/lib/sealtrail/uploads
COPY --from=build /opt/sealtrail /opt/sealtrail
# PYTHONSAFEPATH: no file in the working directory can stand in for one of our packages.
ENV PATH=/opt/sealtrail/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SEALTRAIL_ENVIRONMENT=production
USER 10001:10001
WORKDIR /var/lib/sealtrail
ENTRYPOINT ["sealtrail-server"]
CMD ["--help"]
