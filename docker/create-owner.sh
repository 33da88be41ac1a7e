#!/bin/sh
# Creates the database and its owner when the server starts for the first time. The owner is no superuser. It may create
# roles, because the migrations create `hooksentry_tenant`, and `runtime-role.sql` those of the service.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" -v password="$OWNER_PASSWORD" <<'SQL'
CREATE ROLE hooksentry_owner LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE hooksentry OWNER hooksentry_owner;
SQL
