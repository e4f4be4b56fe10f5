-- Whether a trigram index is there and was built to its end. $1 its name text. Reads the catalogue. Locks: none. Returns boolean; null: it is not there.
select indisvalid from pg_index where indexrelid = to_regclass('headrace.' || $1::text)
