-- Users. Their email addresses and password hashes are in tables of their own, since they cannot be folded from the log. The
-- row of a deleted user is kept, so that replaying a fact does not recreate the user.
CREATE TABLE users (
    id            uuid        PRIMARY KEY,
    tenant_id     uuid        NOT NULL,
    -- Version of the user's stream with the fact that set the email address. NULL: the user is deleted.
    email_version bigint,
    -- 0 Developer, 1 Admin, 10 Owner, 20 Viewer.
    role          smallint    NOT NULL,
    -- 0 Active, 1 Inactive.
    status        smallint    NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    deleted_at    timestamptz,
    -- Last deactivation, also of a user who was activated again: it ended the invites of the user.
    deactivated_at timestamptz,
    -- Whether a login needs a second factor, whose secret is in the log only.
    has_second_factor boolean   NOT NULL,
    -- Version of the user's stream with the fact that set the password, enabled the second factor or deactivated the
    -- user: sessions that were opened with earlier credentials have ended.
    credentials_version bigint NOT NULL,
    -- Version of the user's stream that the row shows.
    version       bigint      NOT NULL,

    CONSTRAINT users_role_is_known CHECK (role IN (0, 1, 10, 20)),
    CONSTRAINT users_status_is_known CHECK (status IN (0, 1)),
    CONSTRAINT users_deleted_are_nameless CHECK ((deleted_at IS NULL) = (email_version IS NOT NULL))
);

CREATE INDEX users_of_a_tenant ON users (tenant_id, id);

SELECT scope_to_tenant('users');
