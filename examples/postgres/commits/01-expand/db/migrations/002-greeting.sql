-- The previous build still works: it does not know the column.
ALTER TABLE orders ADD COLUMN greeting text NOT NULL DEFAULT 'Enjoy!';
