-- Until when a reader's checkpoint stands still, so that a new generation of its rows can take the place of
-- the old one; NULL: it moves. It ends by itself, should whoever held it be gone.
ALTER TABLE checkpoints ADD COLUMN held_until timestamptz;
