-- Codes of authenticator apps that were used: of each user the time step of the last one. The code of a step is valid for
-- more than a minute, and must not be used twice. They are not facts, since there is one for every login.
CREATE TABLE second_factor_steps (
    user_id uuid   PRIMARY KEY,
    -- Unix time divided by 30 seconds.
    step    bigint NOT NULL
);
