-- The applied migrations. Returns: version int, checksum text.
select version, checksum from headrace.migration order by version
