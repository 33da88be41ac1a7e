UPDATE leaderships SET epoch = 4, holder = 'one' WHERE role = 'dispatcher';
INSERT INTO leaderships (role, epoch, holder) VALUES ('projector', 2, 'two');
