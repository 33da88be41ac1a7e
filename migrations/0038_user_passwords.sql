-- Hash of the current password of each user. The append of a fact that sets a password replaces it, and the one that deletes
-- the user deletes it.
CREATE TABLE user_passwords (
    user_id       uuid   PRIMARY KEY,
    tenant_id     uuid   NOT NULL,
    -- Version of the user's stream with the fact that set it.
    version       bigint NOT NULL CHECK (version >= 1),
    -- Argon2id, PHC form.
    password_hash text   NOT NULL
);
