-- Public keys that have signed checkpoints: their history, which is never shortened.
CREATE TABLE evidence_log_keys (
    -- `<name>+<key id>+<base64>`: C2SP signed-note. All have the same name, that of the installation.
    vkey       text        PRIMARY KEY,
    -- When the sealer began to sign with it.
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the sealer began to sign without it; NULL: it still signs with it.
    retired_at timestamptz
);
