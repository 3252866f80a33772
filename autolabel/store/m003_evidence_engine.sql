-- The evidence engine: where a window's document stands in its file, the spread of a feature's activations, and the tiles of rare
-- features in text that was run for their sake.

ALTER TABLE windows ADD COLUMN document_name VARCHAR;
COMMENT ON COLUMN windows.document_name IS 'id of the document in its file, or the file and the place there; provenance only';

ALTER TABLE features ADD COLUMN activation_deviation DOUBLE;
COMMENT ON COLUMN features.activation_deviation IS 'standard deviation over the tokens on which it is active';

ALTER TABLE features ADD COLUMN n_tiles_targeted BIGINT;
COMMENT ON COLUMN features.n_tiles_targeted IS
    'firing tiles of a rare feature in documents run because they hold a token it fires on (target_rare), which no other count holds; NULL for others';
COMMENT ON COLUMN strata.n_tiles IS
    'tiles of the population in this group; of firing tiles of a rare feature (target_rare) an estimate for the whole corpus, not the part read';
