-- The evidence engine: where a window's document stands in its file, and the spread of a feature's activations.

ALTER TABLE windows ADD COLUMN document_name VARCHAR;
COMMENT ON COLUMN windows.document_name IS 'id of the document in its file, or the file and the place there; provenance only';

ALTER TABLE features ADD COLUMN activation_deviation DOUBLE;
COMMENT ON COLUMN features.activation_deviation IS 'standard deviation over the tokens on which it is active';
